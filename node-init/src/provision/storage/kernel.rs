//! Pure: what the kernel and util-linux say about loop devices, signatures and DRBD.

use serde::Deserialize;

use super::plan::Drbd;

/// Pure: the state of a minor in `/proc/drbd` (DRBD 8.4).
pub fn drbd(text: &str, minor: u32) -> Drbd {
    let own = format!("{minor}:");
    let Some(line) = text.lines().map(str::trim_start).find_map(|line| line.strip_prefix(&own)) else {
        return Drbd::None;
    };
    let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    match (field("cs:"), field("ds:").map(|disks| disks.split('/').next().unwrap_or_default())) {
        (Some("Unconfigured") | None, _) => Drbd::None,
        (_, None | Some("Diskless" | "Failed" | "Detaching" | "Attaching")) => Drbd::Diskless,
        _ => Drbd::Attached,
    }
}

/// Pure: kinds of all signatures in the output of `wipefs --json --no-act` (wipefs(8)), which is empty when there is
/// none.
///
/// # Errors
/// When it is something else.
pub fn signatures(text: &str) -> serde_json::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        r#type: String,
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let list: List = serde_json::from_str(text)?;
    let mut kinds: Vec<String> = list.signatures.into_iter().map(|signature| signature.r#type).collect();
    kinds.sort();
    kinds.dedup();
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minor_is_found_in_proc_drbd() {
        let text = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: 211FB288A383ED945B83420\n \
                    0: cs:StandAlone ro:Secondary/Unknown ds:Inconsistent/DUnknown   r----s\n    ns:0 nr:0\n \
                    1: cs:Unconfigured\n10: cs:WFConnection ro:Secondary/Unknown ds:Diskless/DUnknown C r-----\n";
        assert_eq!(drbd(text, 0), Drbd::Attached);
        assert_eq!(drbd(text, 1), Drbd::None);
        assert_eq!(drbd(text, 2), Drbd::None);
        assert_eq!(drbd(text, 10), Drbd::Diskless);
        assert_eq!(drbd("", 0), Drbd::None);
        assert_eq!(drbd("0:", 0), Drbd::None);
    }

    #[test]
    fn signatures_are_named_once() {
        let text = r#"{"signatures": [{"device":"loop0","offset":"0x1fe","type":"dos","uuid":null,"label":null},
            {"device":"loop0","offset":"0x438","type":"ext4","uuid":"x","label":null},
            {"device":"loop0","offset":"0x3","type":"dos","uuid":null,"label":null}]}"#;
        assert_eq!(signatures(text).unwrap(), ["dos", "ext4"]);
        assert_eq!(signatures("\n").unwrap(), Vec::<String>::new());
        assert!(signatures("wipefs: error").is_err());
    }
}
