//! CycloneDX 1.6, JSON (<https://cyclonedx.org/docs/1.6/json/>).

use super::licences::Licence;
use crate::stages::erofs::uuid_of;
use crate::stages::node_init::Crate;
use crate::stages::packages::Package;
use anyhow::Context;
use serde_json::{Value, json};

/// A bill before it is written.
#[derive(Debug, Clone)]
pub struct Bill {
    /// Image name.
    pub name: String,
    /// Image version.
    pub version: String,
    /// For people.
    pub description: String,
    /// Time stamp, seconds since 1970: of the image, not of the build.
    pub epoch: i64,
    /// What it consists of.
    pub components: Vec<Component>,
}

/// One part of the image.
#[derive(Debug, Clone)]
pub struct Component(Value);

impl Component {
    /// A Debian package. The package URL is of type `deb` (purl specification).
    pub fn debian(package: &Package, suite: &str, licences: Vec<Licence>) -> Self {
        let field = |name: &str| {
            package
                .stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        let version = escaped(&package.version);
        let url = format!(
            "pkg:deb/debian/{}@{version}?arch={}&distro={suite}",
            escaped(&package.name),
            package.architecture
        );
        let licences: Vec<Value> = licences
            .into_iter()
            .map(|licence| match licence {
                Licence::Spdx(id) => json!({ "license": { "id": id } }),
                Licence::Named(name) => json!({ "license": { "name": name } }),
            })
            .collect();
        // `Source: name (version)`, absent when both are the package's own.
        let source = field("Source").unwrap_or_else(|| package.name.clone());
        let mut component = json!({
            "type": "library",
            "bom-ref": url,
            "name": package.name,
            "version": package.version,
            "licenses": licences,
            "hashes": [{ "alg": "SHA-256", "content": package.sha256 }],
            "purl": url,
            "properties": [
                { "name": "debian:source", "value": source },
                { "name": "debian:copyright", "value": format!("/usr/share/doc/{}/copyright", package.name) },
            ],
        });
        if let Some(people) = field("Maintainer") {
            component["supplier"] = json!({ "name": people });
        }
        if let Some(page) = field("Homepage") {
            component["externalReferences"] = json!([{ "type": "website", "url": page }]);
        }
        Self(component)
    }

    /// A file that a definition downloads.
    pub fn download(url: &str, path: &str, sha256: &str) -> Self {
        Self(json!({
            "type": "file",
            "bom-ref": format!("file:{path}"),
            "name": path,
            "hashes": [{ "alg": "SHA-256", "content": sha256.to_lowercase() }],
            "externalReferences": [{ "type": "distribution", "url": url }],
        }))
    }

    fn cargo(part: &Crate) -> Self {
        let url = format!("pkg:cargo/{}@{}", part.name, escaped(&part.version));
        let mut component = json!({
            "type": "library",
            "bom-ref": url,
            "name": part.name,
            "version": part.version,
            "purl": url,
        });
        if let Some(licence) = &part.license {
            // Crates of before 2018 write `MIT/Apache-2.0`.
            component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
        }
        if let Some(sum) = &part.sha256 {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        Self(component)
    }
}

/// The crates that node-init is made of, from the build's own list.
///
/// # Errors
/// When it is not that list.
pub fn crates(text: &str) -> anyhow::Result<Vec<Component>> {
    let all: Vec<Crate> = serde_json::from_str(text).context("crates.json")?;
    Ok(all.iter().map(Component::cargo).collect())
}

impl Bill {
    /// The file. Its serial number follows from its content, so that the same image has the same bill.
    pub fn render(mut self) -> String {
        self.components.sort_by_key(|component| component.0["bom-ref"].as_str().map(str::to_owned));
        let components: Vec<Value> = self.components.into_iter().map(|component| component.0).collect();
        let mut bill = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": "",
            "version": 1,
            "metadata": {
                "timestamp": rfc3339(self.epoch),
                "tools": { "components": [{ "type": "application", "name": "edgepair", "version": env!("CARGO_PKG_VERSION") }] },
                "component": {
                    "type": "operating-system",
                    "bom-ref": format!("image:{}@{}", self.name, self.version),
                    "name": self.name,
                    "version": self.version,
                    "description": self.description,
                },
            },
            "components": components,
        });
        bill["serialNumber"] = json!(format!("urn:uuid:{}", uuid_of(&bill.to_string())));
        format!("{bill:#}\n")
    }
}

/// Percent-encoding for a package URL.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            // The purl specification leaves the colon as it is.
            b':' => ":".to_owned(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// `2026-01-01T00:00:00Z`, by the civil calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
fn rfc3339(epoch: i64) -> String {
    let (days, seconds) = (epoch.div_euclid(86_400), epoch.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (epoch, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(epoch), text);
        }
    }

    #[test]
    fn a_package_becomes_a_component() {
        let package = Package {
            name: "libstdc++6".into(),
            version: "1:14.2~0-1+b1".into(),
            architecture: "amd64".into(),
            sha256: "ab".into(),
            stanza: "Package: libstdc++6\nSource: gcc-14 (14.2)\nHomepage: https://gcc.example/".into(),
        };
        let Component(value) = Component::debian(&package, "trixie", vec![Licence::Spdx("MIT".into())]);
        assert_eq!(value["purl"], "pkg:deb/debian/libstdc%2B%2B6@1:14.2~0-1%2Bb1?arch=amd64&distro=trixie");
        assert_eq!(value["properties"][0]["value"], "gcc-14 (14.2)");
        let bill = Bill {
            name: "x".into(),
            version: "1".into(),
            description: String::new(),
            epoch: 0,
            components: vec![Component(value)],
        };
        let (one, two) = (bill.clone().render(), bill.render());
        assert_eq!(one, two);
        assert!(one.contains("urn:uuid:"));
    }
}
