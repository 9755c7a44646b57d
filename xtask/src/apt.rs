//! Debian's packages without installing them: for this machine's architecture, or for another one.
//!
//! Packages of another architecture are looked up by an apt with a configuration, lists and a state of its own, in a
//! folder under `target`. This machine's dpkg learns nothing of them.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An apt for one architecture.
pub(crate) struct Apt {
    /// The configuration of another architecture's apt; none is this machine's own.
    config: Option<PathBuf>,
    /// Where the other architecture's packages are kept once they are fetched.
    archives: PathBuf,
}

impl Apt {
    /// The apt of this machine.
    pub(crate) const fn native() -> Self {
        Self { config: None, archives: PathBuf::new() }
    }

    /// One for another architecture (Debian's name of it), with all that it remembers in this folder.
    pub(crate) fn foreign(home: &Path, architecture: &str) -> Result<Self> {
        let place = |name: &str| home.join(name);
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place(folder)).with_context(|| format!("no {}", home.display()))?;
        }
        // Nothing is installed: what packages depend on comes with them.
        fs::write(place("status"), "")?;
        let config = place("apt.conf");
        let (state, status, cache) = (place("state"), place("status"), place("cache"));
        let text = format!(
            "APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Sandbox::User \"root\";\nAPT::Install-Recommends \"false\";\n\
             Dir::State \"{}\";\nDir::State::status \"{}\";\nDir::Cache \"{}\";\n",
            state.display(),
            status.display(),
            cache.display()
        );
        fs::write(&config, text)?;
        Ok(Self { config: Some(config), archives: cache.join("archives") })
    }

    /// A program of apt that works for this architecture.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(config) = &self.config {
            command.env("APT_CONFIG", config);
        }
        command
    }

    /// What the first dependency of a package names: the newest of what the package stands for.
    fn newest(&self, package: &str) -> Result<String> {
        let text = shell::output(self.command("apt-cache").args(["depends", package]))?;
        let named = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        named.map(str::to_owned).with_context(|| format!("{package} names no package"))
    }

    /// Downloads packages into a folder, without what they depend on.
    pub(crate) fn download(&self, packages: &[&str], to: &Path) -> Result<()> {
        self.with_lists(|| {
            let mut apt = self.command("apt-get");
            tool(apt.arg("download").args(packages).current_dir(to))
        })
    }

    /// Downloads packages into a folder, with those that their installation would bring (`Inst NAME ...`, as apt-get
    /// says).
    pub(crate) fn download_needed(&self, packages: &[&str], to: &Path) -> Result<()> {
        self.with_lists(|| {
            let mut simulated = self.command("apt-get");
            simulated.args(["install", "--simulate", "--no-install-recommends"]).args(packages);
            let said = shell::output(&mut simulated)?;
            let lines = said.lines().filter_map(|line| line.strip_prefix("Inst "));
            let needed = lines.filter_map(|line| line.split(' ').next());
            let needed = needed.filter(|name| !packages.contains(name));
            let mut apt = self.command("apt-get");
            tool(apt.arg("download").args(packages).args(needed).current_dir(to))
        })
    }

    /// Downloads the package that a package depends on first into a folder.
    pub(crate) fn download_newest(&self, package: &str, to: &Path) -> Result<()> {
        self.with_lists(|| {
            let name = self.newest(package)?;
            tool(self.command("apt-get").args(["download", &name]).current_dir(to))
        })
    }

    /// Unpacks packages of another architecture into a folder, with all that they depend on.
    pub(crate) fn extract_closure(&self, packages: &[&str], to: &Path) -> Result<()> {
        self.with_lists(|| {
            let mut apt = self.command("apt-get");
            apt.args(["--yes", "--download-only", "install"]).args(packages);
            tool(&mut apt)
        })?;
        extract_all(&self.archives, to)
    }

    /// Does something that needs apt's lists; once more with new ones, which may have been missing or out of date.
    fn with_lists(&self, act: impl Fn() -> Result<()>) -> Result<()> {
        act().or_else(|_| {
            tool(self.command("apt-get").arg("update"))?;
            act()
        })
    }
}

/// Unpacks every package of a folder into another one, and removes the packages.
pub(crate) fn extract_all(folder: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            tool(Command::new("dpkg-deb").arg("-x").arg(&path).arg(to))?;
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Runs a tool whose words only matter when it fails.
pub(crate) fn tool(command: &mut Command) -> Result<()> {
    let output =
        command.output().with_context(|| format!("cannot start {}", shell::line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}: {}", shell::line(command), output.status, said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Apt;
    use std::fs;

    #[test]
    fn an_apt_of_another_architecture_keeps_everything_in_its_folder() {
        let home = std::env::temp_dir().join(format!("ctflow-apt-{}", std::process::id()));
        let apt = Apt::foreign(&home, "arm64").unwrap();
        let text = fs::read_to_string(apt.config.as_ref().unwrap()).unwrap();
        for line in text.lines().filter(|line| line.starts_with("Dir::")) {
            assert!(line.contains(home.to_str().unwrap()), "{line}");
        }
        assert!(apt.archives.starts_with(&home) && apt.archives.is_dir());
        fs::remove_dir_all(home).unwrap();
    }
}
