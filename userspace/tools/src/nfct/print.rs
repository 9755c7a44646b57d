//! Objects as text, in the original's form, and as JSON, one object a line (docs/spec/nfct-json.md).

use super::failure::NAME;
use crate::print::tame::Tame;
use host::nfnetlink::helper::HelperObject;
use host::nfnetlink::timeout::{TimeoutPolicy, states};
use serde::{Serialize, Serializer};
use std::fmt::Write as _;

/// What can be shown.
pub trait Object {
    /// Lines as the original writes them.
    fn text(&self) -> String;
    /// The object as JSON with the same words; `v` is the version of its form.
    fn json(&self) -> String;
}

/// All of a list.
#[must_use]
pub fn all(list: &[impl Object], json: bool) -> String {
    let line = |object: &_| {
        if json { format!("{}\n", Object::json(object)) } else { Object::text(object) }
    };
    list.iter().map(line).collect()
}

/// The program's name and version.
#[must_use]
pub fn version() -> String {
    format!(
        "{NAME}: utility for the Netfilter's Connection Tracking System\n\
         This is nfct of ctflow {}.\n\
         This program comes with ABSOLUTELY NO WARRANTY.\n\
         This is free software, and you are welcome to redistribute it under the\n\
         terms of the MIT licence or of the Apache licence 2.0, as you like.\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The word and the seconds of each state that the kernel reported.
fn policy(policy: &TimeoutPolicy) -> impl Iterator<Item = (&'static str, u32)> {
    let words = states(policy.l4_protocol).iter().zip(1..);
    words.filter_map(|(word, number)| policy.seconds.get(&number).map(|s| (*word, *s)))
}

impl Object for TimeoutPolicy {
    fn text(&self) -> String {
        let mut text = String::new();
        // Defaults have neither a name nor a count of uses.
        if self.uses.is_some() {
            let _ = writeln!(text, ".{} = {{", Tame(&self.name));
        }
        let _ = writeln!(text, "\t.l3proto = {},", self.l3_protocol);
        let _ = writeln!(text, "\t.l4proto = {},", self.l4_protocol);
        text.push_str("\t.policy = {\n");
        for (word, seconds) in policy(self) {
            let _ = writeln!(text, "\t\t.{word} = {seconds},");
        }
        text + "\t},\n};\n"
    }

    fn json(&self) -> String {
        let object = PolicyJson {
            v: 1,
            name: self.uses.map(|_| Tame(&self.name).to_string()),
            l3proto: self.l3_protocol,
            l4proto: self.l4_protocol,
            policy: States(policy(self).collect()),
            uses: self.uses,
        };
        serde_json::to_string(&object).expect("numbers and texts become JSON")
    }
}

#[derive(Serialize)]
struct PolicyJson {
    v: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    l3proto: u16,
    l4proto: u8,
    policy: States,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
}

/// An object with a key for each state, in the order of the states.
struct States(Vec<(&'static str, u32)>);

impl Serialize for States {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl Object for HelperObject {
    fn text(&self) -> String {
        format!(
            "{{\n\t.name = {},\n\t.queuenum = {},\n\t.l3protonum = {},\n\t.l4protonum = {},\n\
             \t.priv_data_len = {},\n\t.status = {},\n}};\n",
            Tame(&self.key.name),
            self.queue,
            self.key.l3_protocol,
            self.key.l4_protocol,
            self.policy.private_bytes,
            status(self),
        )
    }

    fn json(&self) -> String {
        let object = HelperJson {
            v: 1,
            name: Tame(&self.key.name).to_string(),
            queuenum: self.queue,
            l3protonum: self.key.l3_protocol,
            l4protonum: self.key.l4_protocol,
            priv_data_len: self.policy.private_bytes,
            status: status(self),
            expect_max: self.policy.expect_max,
            expect_timeout: self.policy.expect_timeout_s,
        };
        serde_json::to_string(&object).expect("numbers and texts become JSON")
    }
}

#[derive(Serialize)]
struct HelperJson {
    v: u8,
    name: String,
    queuenum: u32,
    l3protonum: u16,
    l4protonum: u8,
    priv_data_len: u32,
    status: &'static str,
    expect_max: u32,
    expect_timeout: u32,
}

const fn status(helper: &HelperObject) -> &'static str {
    if helper.is_enabled { "enabled" } else { "disabled" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::nfnetlink::helper::{HelperKey, HelperPolicy};
    use serde_json::Value;

    fn policy() -> TimeoutPolicy {
        TimeoutPolicy {
            name: "a\nb".into(),
            l3_protocol: 2,
            l4_protocol: 17,
            seconds: [(1, 30), (2, 120), (9, 7)].into(),
            uses: Some(1),
        }
    }

    #[test]
    fn a_policy_and_a_default_differ_in_the_first_line() {
        let rest = "\t.l3proto = 2,\n\t.l4proto = 17,\n\t.policy = {\n\t\t.UNREPLIED = 30,\n\
                    \t\t.REPLIED = 120,\n\t},\n};\n";
        assert_eq!(policy().text(), format!(".a?b = {{\n{rest}"));
        assert_eq!(TimeoutPolicy { uses: None, ..policy() }.text(), rest);
    }

    #[test]
    fn json_is_an_object_a_line_with_the_words_of_the_text() {
        let line = all(&[policy(), policy()], true);
        assert_eq!(line.lines().count(), 2);
        let object: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        assert_eq!(object["v"], 1);
        assert_eq!(object["name"], "a?b");
        assert_eq!(object["policy"]["REPLIED"], 120);
        let key = HelperKey { name: "ftp".into(), l3_protocol: 10, l4_protocol: 6 };
        let known = key.known_policy().unwrap();
        let helper =
            HelperObject { policy: HelperPolicy { ..known }, key, queue: 3, is_enabled: true };
        let object: Value = serde_json::from_str(&helper.json()).unwrap();
        assert_eq!(object["expect_timeout"], 300);
        assert_eq!(object["status"], "enabled");
        assert!(
            helper.text().contains("\t.queuenum = 3,\n") && helper.text().contains("= enabled")
        );
    }
}
