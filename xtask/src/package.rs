//! `cargo xtask package`: the two Debian packages, made with dpkg-deb.
//!
//! ```text
//!   target/PROFILE: ctflow conntrack conntrackd nfct --strip--\
//!   docs/man, contrib --gzip -n, templates ---------------------+--> a tree --dpkg-deb--> NAME_VERSION_ARCH.deb
//!   cargo tree --licences of the crates, bill of materials-----/
//! ```
//!
//! The same programs make the same packages, byte for byte, wherever, whenever and by whomever they are made: times are
//! that of the commit, owners are root, modes do not follow the umask. cargo-deb would build for minutes first and can
//! take one package from one crate; these are two from one, with files from all over the repository.

mod bill;
pub(crate) mod test;

use crate::build;
use crate::repo;
use crate::shell::{self, step};
use anyhow::{Context as _, Result, ensure};
use bill::Bill;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Make the Debian packages `ctflow` and `ctflow-conntrack-tools` in target/package.
///
/// Builds optimised programs first, whose paths do not show where they were built. Each package carries a bill of
/// materials in CycloneDX's form (sbom.cdx.json): the crates in its programs, and in the eBPF object that they carry.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Pack debug programs: quick, for tests of the packages themselves
    #[arg(long)]
    debug: bool,
    /// Pack the programs of this folder, and build none
    #[arg(long, value_name = "FOLDER", conflicts_with = "debug")]
    programs: Option<PathBuf>,
    /// Where the packages go [default: target/package]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// A package: its name, and what lies where in it.
struct Package {
    name: &'static str,
    /// Programs, by their folder.
    programs: &'static [(&'static str, &'static str)],
    /// Direct dependencies of ctflow-tools that none of these programs calls (`tests/netns/top.rs` checks that).
    without: &'static [&'static str],
    /// Files of the repository, and where they go. Those that end in `.gz` are compressed.
    files: &'static [(&'static str, &'static str)],
    /// Files and whole folders of the repository to copy from, and where they go below `usr/share/ctflow`.
    examples: &'static [(&'static str, &'static str)],
    /// Maintainer scripts, in `contrib/debian/NAME`.
    scripts: &'static [&'static str],
    /// Files that dpkg does not overwrite when the administrator has changed them.
    conffiles: &'static [&'static str],
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "ctflow",
        programs: &[("ctflow", "usr/bin")],
        without: &[],
        files: &[
            ("docs/man/ctflow.8", "usr/share/man/man8/ctflow.8.gz"),
            ("contrib/completions/ctflow.bash", "usr/share/bash-completion/completions/ctflow"),
            ("contrib/completions/_ctflow", "usr/share/zsh/vendor-completions/_ctflow"),
            ("contrib/completions/ctflow.fish", "usr/share/fish/vendor_completions.d/ctflow.fish"),
            ("contrib/debian/ctflow/sysusers.conf", "usr/lib/sysusers.d/ctflow.conf"),
            ("docs/spec/doctor.md", "usr/share/doc/ctflow/doctor.md"),
            ("docs/spec/feed.md", "usr/share/doc/ctflow/feed.md"),
            ("docs/spec/filter.md", "usr/share/doc/ctflow/filter.md"),
            ("docs/spec/metrics.md", "usr/share/doc/ctflow/metrics.md"),
            ("docs/runbook.md", "usr/share/doc/ctflow/runbook.md"),
        ],
        examples: &[
            ("contrib/keepalived.conf", "keepalived/keepalived.conf"),
            ("contrib/primary-backup.sh", "keepalived/primary-backup.sh"),
            ("contrib/gate.nft", "keepalived/gate.nft"),
            ("contrib/conntrackd-failover.conf", "keepalived/conntrackd-failover.conf"),
            ("contrib/conntrackd-nodes.conf", "keepalived/conntrackd-nodes.conf"),
            ("contrib/grafana", "grafana"),
            ("contrib/kubernetes", "kubernetes"),
            ("contrib/openwrt", "openwrt"),
            ("contrib/pacemaker", "pacemaker"),
            ("contrib/prometheus", "prometheus"),
            ("contrib/vyos", "vyos"),
        ],
        scripts: &["postinst"],
        conffiles: &[],
    },
    Package {
        name: "ctflow-conntrack-tools",
        programs: &[("conntrack", "usr/sbin"), ("conntrackd", "usr/sbin"), ("nfct", "usr/sbin")],
        without: &["crossterm", "ratatui"],
        files: &[
            ("docs/man/conntrack.8", "usr/share/man/man8/conntrack.8.gz"),
            ("docs/man/conntrackd.8", "usr/share/man/man8/conntrackd.8.gz"),
            ("docs/man/nfct.8", "usr/share/man/man8/nfct.8.gz"),
            (
                "contrib/completions/conntrack.bash",
                "usr/share/bash-completion/completions/conntrack",
            ),
            ("contrib/completions/nfct.bash", "usr/share/bash-completion/completions/nfct"),
            ("contrib/completions/_conntrack", "usr/share/zsh/vendor-completions/_conntrack"),
            ("contrib/completions/_nfct", "usr/share/zsh/vendor-completions/_nfct"),
            (
                "contrib/completions/conntrack.fish",
                "usr/share/fish/vendor_completions.d/conntrack.fish",
            ),
            ("contrib/completions/nfct.fish", "usr/share/fish/vendor_completions.d/nfct.fish"),
            ("contrib/conntrackd.service", UNIT),
            (
                "contrib/systemd/unprivileged.conf",
                "usr/share/doc/ctflow-conntrack-tools/unprivileged.conf",
            ),
            (
                "contrib/debian/ctflow-conntrack-tools/logrotate",
                "etc/logrotate.d/ctflow-conntrackd",
            ),
            (
                "contrib/debian/ctflow-conntrack-tools/tmpfiles.conf",
                "usr/lib/tmpfiles.d/ctflow-conntrack-tools.conf",
            ),
            (DEFAULT_CONF, "usr/share/ctflow/conntrackd.conf.default"),
            ("docs/spec/conf.md", "usr/share/doc/ctflow-conntrack-tools/conf.md"),
            ("docs/spec/log.md", "usr/share/doc/ctflow-conntrack-tools/log.md"),
        ],
        examples: &[],
        scripts: &["postinst", "prerm", "postrm"],
        conffiles: &["/etc/logrotate.d/ctflow-conntrackd"],
    },
];
const UNIT: &str = "lib/systemd/system/conntrackd.service";
const DEFAULT_CONF: &str = "contrib/debian/ctflow-conntrack-tools/conntrackd.conf";
const DEBIAN: &str = "contrib/debian";

/// Makes them; their paths are printed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None if options.debug => build::all(false)?.programs,
        None => build::for_package()?.programs,
    };
    for deb in make(&programs, options.out.as_ref().unwrap_or(&folder()))? {
        println!("{} ({} bytes)", deb.display(), fs::metadata(&deb)?.len());
    }
    Ok(())
}

/// The folder of the packages.
pub(crate) fn folder() -> PathBuf {
    repo::target().join("package")
}

/// Packs the programs of that folder.
pub(crate) fn make(programs: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out)?;
    let words = Words::gather()?;
    PACKAGES.iter().map(|package| pack(package, programs, out, &words)).collect()
}

/// What templates and documents of all packages say.
struct Words {
    version: String,
    arch: String,
    /// Seconds since 1970: the time of the commit, or what `SOURCE_DATE_EPOCH` says.
    epoch: String,
    conf_md5: String,
}

impl Words {
    fn gather() -> Result<Self> {
        let mut git = Command::new("git");
        git.args(["log", "-1", "--format=%ct"]).current_dir(repo::root());
        let epoch = match env::var("SOURCE_DATE_EPOCH") {
            Ok(given) => given,
            Err(_) => shell::output(&mut git)?.trim().to_owned(),
        };
        let md5 = shell::output(Command::new("md5sum").arg(repo::root().join(DEFAULT_CONF)))?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arch: shell::output(Command::new("dpkg").arg("--print-architecture"))?
                .trim()
                .to_owned(),
            epoch,
            conf_md5: md5.split(' ').next().unwrap_or_default().to_owned(),
        })
    }

    fn fill(&self, template: &str) -> String {
        template
            .replace("@VERSION@", &self.version)
            .replace("@ARCH@", &self.arch)
            .replace("@CONF_MD5@", &self.conf_md5)
    }
}

fn pack(package: &Package, programs: &Path, out: &Path, words: &Words) -> Result<PathBuf> {
    let name = package.name;
    step(&format!("package: {name} {}", words.version));
    let tree = Tree::new(&out.join(name), words)?;
    let mut packed = Vec::new();
    for (program, folder) in package.programs {
        let at = tree.program(&programs.join(program), &format!("{folder}/{program}"))?;
        packed.push(at);
    }
    for (from, to) in package.files {
        tree.file(from, to)?;
    }
    for (from, to) in package.examples {
        tree.examples(from, &format!("usr/share/ctflow/{to}"))?;
    }
    let doc = format!("usr/share/doc/{name}");
    let overrides = format!("{DEBIAN}/{name}/lintian-overrides");
    tree.file(&overrides, &format!("usr/share/lintian/overrides/{name}"))?;
    let bill = Bill::of(package.without)?;
    tree.text(&format!("{doc}/copyright"), &copyright(&bill)?)?;
    let changelog = fs::read_to_string(repo::root().join(DEBIAN).join("changelog"))?;
    let changelog = words.fill(&changelog).replacen("ctflow", name, 1);
    tree.compressed(&format!("{doc}/changelog.gz"), changelog.as_bytes())?;
    tree.compressed(&format!("{doc}/sbom.cdx.json.gz"), bill.text(name)?.as_bytes())?;
    tree.control(package, &packed)?;
    let deb = out.join(format!("{name}_{}_{}.deb", words.version, words.arch));
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree.root).arg(&deb);
    shell::output(command.env("SOURCE_DATE_EPOCH", &words.epoch))?;
    fs::remove_dir_all(&tree.root)?;
    Ok(deb)
}

/// The files of a package while they are gathered.
struct Tree<'a> {
    root: PathBuf,
    words: &'a Words,
}

impl<'a> Tree<'a> {
    fn new(root: &Path, words: &'a Words) -> Result<Self> {
        let _ = fs::remove_dir_all(root);
        fs::create_dir_all(root)?;
        Ok(Self { root: root.to_owned(), words })
    }

    /// The path of a file in it, whose folders exist, whatever the umask is.
    fn place(&self, to: &str) -> Result<PathBuf> {
        let mut at = self.root.clone();
        fs::set_permissions(&at, Permissions::from_mode(0o755))?;
        let (folders, name) = to.rsplit_once('/').unwrap_or(("", to));
        for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
            at.push(folder);
            fs::create_dir_all(&at)?;
            fs::set_permissions(&at, Permissions::from_mode(0o755))?;
        }
        Ok(at.join(name))
    }

    fn bytes(&self, to: &str, bytes: &[u8], mode: u32) -> Result<PathBuf> {
        let at = self.place(to)?;
        fs::write(&at, bytes).with_context(|| format!("writing {}", at.display()))?;
        fs::set_permissions(&at, Permissions::from_mode(mode))?;
        Ok(at)
    }

    fn text(&self, to: &str, text: &str) -> Result<PathBuf> {
        self.bytes(to, text.as_bytes(), 0o644)
    }

    fn compressed(&self, to: &str, bytes: &[u8]) -> Result<()> {
        let plain = self.bytes(to.trim_end_matches(".gz"), bytes, 0o644)?;
        shell::run(Command::new("gzip").args(["-9", "-n", "-f"]).arg(plain))
    }

    fn file(&self, from: &str, to: &str) -> Result<()> {
        let from = repo::root().join(from);
        let mode = fs::metadata(&from)?.permissions().mode() & 0o111;
        let mut bytes = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
        if to == UNIT {
            // bookworm's systemd is older than 253.
            let text = String::from_utf8(bytes)?;
            ensure!(text.contains("Type=notify-reload\n"), "the unit is of another type");
            bytes = text.replace("Type=notify-reload\n", "Type=notify\n").into_bytes();
        }
        if to.ends_with(".gz") {
            return self.compressed(to, &bytes);
        }
        self.bytes(to, &bytes, if mode == 0 { 0o644 } else { 0o755 }).map(drop)
    }

    /// A file, or all of a folder.
    fn examples(&self, from: &str, to: &str) -> Result<()> {
        let root = repo::root().join(from);
        if root.is_file() {
            return self.file(from, to);
        }
        for path in files(&root)? {
            let name = path.strip_prefix(&root)?.display().to_string();
            self.file(&format!("{from}/{name}"), &format!("{to}/{name}"))?;
        }
        Ok(())
    }

    fn program(&self, from: &Path, to: &str) -> Result<PathBuf> {
        let at = self.place(to)?;
        let mut strip = Command::new("strip");
        strip.args(["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note"]);
        shell::run(strip.arg("-o").arg(&at).arg(from))?;
        fs::set_permissions(&at, Permissions::from_mode(0o755))?;
        Ok(at)
    }

    fn control(&self, package: &Package, programs: &[PathBuf]) -> Result<()> {
        let home = repo::root().join(DEBIAN).join(package.name);
        let read = |name: &str| -> Result<String> {
            let path = home.join(name);
            let text = fs::read_to_string(&path);
            Ok(self.words.fill(&text.with_context(|| format!("reading {}", path.display()))?))
        };
        let control = read("control")?.replace("@SHLIBS@", &libraries(programs)?);
        let size = kibibytes(&self.root)?;
        let control =
            control.replace("Description:", &format!("Installed-Size: {size}\nDescription:"));
        let sums = sums(&self.root)?;
        self.text("DEBIAN/control", &control)?;
        self.text("DEBIAN/md5sums", &sums)?;
        for script in package.scripts {
            self.bytes(&format!("DEBIAN/{script}"), read(script)?.as_bytes(), 0o755)?;
        }
        if !package.conffiles.is_empty() {
            self.text("DEBIAN/conffiles", &(package.conffiles.join("\n") + "\n"))?;
        }
        Ok(())
    }
}

/// The packages of the libraries that these programs need, as `Depends` names them.
fn libraries(programs: &[PathBuf]) -> Result<String> {
    let home = folder().join("shlibdeps");
    fs::create_dir_all(home.join("debian"))?;
    fs::write(
        home.join("debian/control"),
        "Source: ctflow\n\nPackage: ctflow\nArchitecture: any\n",
    )?;
    let mut command = Command::new("dpkg-shlibdeps");
    command.arg("-O").args(programs).current_dir(&home);
    let text = shell::output(&mut command)?;
    fs::remove_dir_all(&home)?;
    let depends = text.trim().strip_prefix("shlibs:Depends=");
    Ok(depends.context("dpkg-shlibdeps names no libraries")?.to_owned())
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(files(&path)?);
        } else {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn sums(root: &Path) -> Result<String> {
    let files = files(root)?;
    let names = files.iter().map(|file| file.strip_prefix(root)).collect::<Result<Vec<_>, _>>()?;
    shell::output(Command::new("md5sum").args(names).current_dir(root))
}

fn kibibytes(root: &Path) -> Result<u64> {
    let sizes = files(root)?.into_iter().map(|file| Ok(fs::metadata(file)?.len().div_ceil(1024)));
    sizes.sum::<Result<u64>>()
}

/// `copyright` in Debian's form, with the licence of each crate from elsewhere.
fn copyright(bill: &Bill) -> Result<String> {
    let mut crates = String::new();
    for (licence, names) in bill.by_licence() {
        crates += &format!(" {licence}:\n");
        names.iter().for_each(|name| crates += &format!("  {name}\n"));
    }
    let mit = fs::read_to_string(repo::root().join("LICENSE-MIT"))?;
    let mit: String = mit
        .lines()
        .skip_while(|line| !line.starts_with("Permission"))
        .map(|line| if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") })
        .collect();
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: ctflow\n\n\
         Files: *\n\
         Copyright: 2026 The ctflow developers\n\
         License: MIT or Apache-2.0\n\
         Comment: The eBPF programs inside are under GPL-2 or MIT. The programs hold crates of others\n \
         under these licences:\n{crates}\n\
         License: MIT\n{mit}\n\
         License: Apache-2.0\n \
         On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n"
    ))
}
