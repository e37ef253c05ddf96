//! The key and certificate with which the database shows that it is this pair's.
//!
//! Both follow from the pair's secret, so both nodes have the same ones, nothing has to be made, sent or kept, and a
//! client pins the certificate itself: there is no authority. It never expires, since a box that was off for years, or has
//! lost its clock, must still reach its own database. A new secret is a new key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepair_seed::{PairSecret, Purpose};
use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// PKCS #8 around the 32 bytes of an Ed25519 key (RFC 8410, section 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Key and certificate, PEM.
pub(crate) struct Pem {
    pub key: String,
    pub certificate: String,
}

/// Makes them. The names are those under which k3s on either node reaches its own proxy.
pub(crate) fn make(secret: &PairSecret) -> Result<Pem, rcgen::Error> {
    let seed = secret.key(Purpose::DatabaseCertificate);
    let der = [PKCS8.as_slice(), seed.expose_secret()].concat();
    let key = KeyPair::try_from(der.as_slice())?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "edgepair database");
    params.subject_alt_names = vec![
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    params.serial_number = Some(SerialNumber::from(1_u64));
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let certificate = params.self_signed(&key)?;
    Ok(Pem { key: pem("PRIVATE KEY", &der), certificate: pem("CERTIFICATE", certificate.der()) })
}

/// The lines of a private key that are secret.
pub(crate) fn secret_line(secret: &PairSecret) -> String {
    let seed = secret.key(Purpose::DatabaseCertificate);
    STANDARD.encode([PKCS8.as_slice(), seed.expose_secret()].concat())
}

/// RFC 7468: 64 characters a line.
fn pem(label: &str, der: &[u8]) -> String {
    let code = STANDARD.encode(der);
    let lines: Vec<String> =
        code.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_seed::Secret;

    #[test]
    fn it_follows_from_the_secret_alone() {
        let secret = |text: &str| PairSecret::new(Secret::new(text.to_owned()), "site-042");
        let one = make(&secret("qJ4v9TzXn2Lr8sWc5Yb1Kd7H")).expect("made");
        let same = make(&secret("qJ4v9TzXn2Lr8sWc5Yb1Kd7H")).expect("made");
        let other = make(&secret("qJ4v9TzXn2Lr8sWc5Yb1Kd7I")).expect("made");
        assert_eq!((&one.key, &one.certificate), (&same.key, &same.certificate));
        assert!(one.key != other.key && one.certificate != other.certificate);
        // What is blanked out when a rendered file is printed.
        assert!(one.key.contains(&secret_line(&secret("qJ4v9TzXn2Lr8sWc5Yb1Kd7H"))));
    }
}
