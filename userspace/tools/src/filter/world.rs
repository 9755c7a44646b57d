//! What a filter may ask of the machine: names of services and labels, and files of values.

use crate::conntrack::labels;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest file of values, bytes.
const SET_MAX: u64 = 64 << 20;
/// The longest list of services, bytes.
const SERVICES_MAX: u64 = 4 << 20;

/// Where names and files are looked up.
pub trait World {
    /// Every port of a service, host order, in order; none if there is no such service.
    fn service(&mut self, name: &str) -> Vec<u16>;
    /// The name of a service that is most like this.
    fn nearest_service(&mut self, name: &str) -> Option<String>;
    /// The bit of a label.
    fn label(&mut self, name: &str) -> Option<u8>;
    /// The text of a file of values; `-` is standard input.
    ///
    /// # Errors
    /// Why there is none.
    fn file(&mut self, path: &str) -> Result<String, String>;
}

/// Knows nothing: filters that come over a socket are in normal form, which needs no names and no files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sealed;

impl World for Sealed {
    fn service(&mut self, _: &str) -> Vec<u16> {
        Vec::new()
    }

    fn nearest_service(&mut self, _: &str) -> Option<String> {
        None
    }

    fn label(&mut self, _: &str) -> Option<u8> {
        None
    }

    fn file(&mut self, _: &str) -> Result<String, String> {
        Err("files are read by the client".into())
    }
}

/// The names that this machine knows.
#[derive(Debug, Default)]
pub struct System {
    services: Option<BTreeMap<String, Vec<u16>>>,
}

impl System {
    fn services(&mut self) -> &BTreeMap<String, Vec<u16>> {
        self.services.get_or_insert_with(|| {
            // Without the file there are no names.
            services(&read(Path::new("/etc/services"), SERVICES_MAX).unwrap_or_default())
        })
    }
}

impl World for System {
    fn service(&mut self, name: &str) -> Vec<u16> {
        self.services().get(&name.to_lowercase()).cloned().unwrap_or_default()
    }

    fn nearest_service(&mut self, name: &str) -> Option<String> {
        super::error::nearest(name, self.services().keys().map(String::as_str))
    }

    fn label(&mut self, name: &str) -> Option<u8> {
        labels::of_system()?.bit(name)
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        let text = if path == "-" {
            whole(io::stdin().lock(), SET_MAX)
        } else {
            read(Path::new(path), SET_MAX)
        };
        text.map_err(|error| error.to_string())
    }
}

fn read(path: &Path, max: u64) -> io::Result<String> {
    whole(File::open(path)?, max)
}

fn whole(from: impl Read, max: u64) -> io::Result<String> {
    let mut text = String::new();
    from.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {max} bytes")));
    }
    Ok(text)
}

/// Names and aliases of `/etc/services`: `NAME PORT/PROTOCOL ALIAS...`, whatever the protocol.
fn services(text: &str) -> BTreeMap<String, Vec<u16>> {
    let mut out: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let (Some(name), Some(place)) = (words.next(), words.next()) else { continue };
        let Some(port) = place.split_once('/').and_then(|(port, _)| port.parse().ok()) else {
            continue;
        };
        for name in words.chain([name]) {
            let ports = out.entry(name.to_lowercase()).or_default();
            if let Err(at) = ports.binary_search(&port) {
                ports.insert(at, port);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_names_and_aliases() {
        let known = services("http 80/tcp www # web\ndomain 53/tcp\ndomain 53/udp\nbad x/tcp\nodd");
        assert_eq!(known.get("www"), Some(&vec![80]));
        assert_eq!(known.get("domain"), Some(&vec![53]));
        assert_eq!(known.len(), 3);
    }

    #[test]
    fn a_file_of_values_may_not_be_endless() {
        assert!(System::default().file("/dev/zero").is_err());
        assert!(
            read(Path::new("/etc/passwd"), 3).is_err_and(|e| e.to_string().contains("3 bytes"))
        );
    }
}
