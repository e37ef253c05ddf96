//! The board against the fence agent of Debian's package, when this computer has it: in its usual place, or unpacked in the
//! folder that `EDGEPAIR_FENCE_AGENTS` names.

use super::*;
use edgepair_host_io::{CommandError, HostRunner, Invocation, Runner};
use std::path::{Path, PathBuf};

/// A machine that is only a switch.
#[derive(Debug)]
struct Lamp(bool);

impl Power for Lamp {
    fn is_on(&mut self) -> bool {
        self.0
    }

    fn set(&mut self, on: bool) -> anyhow::Result<()> {
        self.0 = on;
        Ok(())
    }
}

const PASSWORD: &str = "a=b \"c\" #d";

fn board() -> Bmc {
    let login = Login { user: "lab".into(), password: PASSWORD.into() };
    Bmc::start(0, &["localhost".into(), "127.0.0.1".into()], login, Box::new(Lamp(true))).unwrap()
}

/// Folder of the unpacked package, or the root.
fn agents() -> Option<PathBuf> {
    let root = std::env::var_os("EDGEPAIR_FENCE_AGENTS").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    root.join("usr/sbin/fence_redfish").exists().then_some(root)
}

/// `authority` is a file with the certificates that are trusted.
fn ask(root: &Path, board: &Bmc, action: &str, authority: Option<&Path>, password: &str) -> (i32, String) {
    let more = if authority.is_none() { "ssl_insecure=1" } else { "" };
    let text = format!(
        "action={action}\nip=127.0.0.1\nipport={}\nusername=lab\npassword={password}\n{more}\n",
        board.port
    );
    let call = Invocation::new("python3")
        .arg(root.join("usr/sbin/fence_redfish").to_string_lossy())
        .env("PYTHONPATH", root.join("usr/share/fence").to_string_lossy())
        .env(
            "REQUESTS_CA_BUNDLE",
            authority.map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
        )
        .stdin(text)
        .within(Duration::from_secs(300));
    match HostRunner.run(&call) {
        Ok(output) => (0, output.text().trim().to_owned()),
        Err(CommandError::Failed { status, stdout, tail, .. }) => {
            (status.code().unwrap_or(-1), if stdout.is_empty() { tail } else { stdout })
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_real_fence_redfish_switches_it_off_and_on() {
    let Some(root) = agents() else {
        eprintln!(
            "not tested: there is no fence_redfish here; EDGEPAIR_FENCE_AGENTS names an unpacked package"
        );
        return;
    };
    let board = board();
    assert_eq!(ask(&root, &board, "status", None, PASSWORD), (0, "Status: ON".into()));
    assert_eq!(ask(&root, &board, "off", None, PASSWORD).0, 0);
    assert!(!board.is_on());
    assert_eq!(ask(&root, &board, "status", None, PASSWORD), (2, "Status: OFF".into()));
    assert_eq!(ask(&root, &board, "off", None, PASSWORD), (0, "Success: Already OFF".into()));
    assert_eq!(ask(&root, &board, "on", None, PASSWORD).0, 0);
    assert!(board.is_on());
    assert_eq!(board.asked(), ["ForceOff", "On"]);
    let (code, said) = ask(&root, &board, "off", None, "wrong");
    assert!(code == 1 && board.is_on(), "a wrong password: {code} {said}");
    // Whoever checks the certificate knows this board, and no other.
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str, text: &str| {
        let path = folder.path().join(name);
        edgepair_host_io::atomic::write(&path, text.as_bytes(), 0o644).unwrap();
        path
    };
    let own = authority("own.pem", &board.certificate);
    assert_eq!(ask(&root, &board, "status", Some(&own), PASSWORD), (0, "Status: ON".into()));
    let other = authority("other.pem", &self::board().certificate);
    let (code, said) = ask(&root, &board, "off", Some(&other), PASSWORD);
    assert!(code == 1 && said.to_lowercase().contains("certificate") && board.is_on(), "{code} {said}");
}

fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> http::Request {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    http::Request { method: method.into(), path: path.into(), fields, body: body.into() }
}

#[test]
fn a_session_is_as_good_as_a_password_and_nothing_else_is() {
    let board = board();
    let mut board = lock(&board.board);
    let system = "/redfish/v1/Systems/1";
    assert_eq!(redfish::answer(&mut board, &request("GET", system, &[], "")).status, 401);
    let sessions = "/redfish/v1/SessionService/Sessions";
    let wrong = r#"{"UserName":"lab","Password":"x"}"#;
    assert_eq!(redfish::answer(&mut board, &request("POST", sessions, &[], wrong)).status, 401);
    let right = serde_json::json!({ "UserName": "lab", "Password": PASSWORD }).to_string();
    let made = redfish::answer(&mut board, &request("POST", sessions, &[], &right));
    let token = made.fields.iter().find(|(name, _)| *name == "X-Auth-Token").unwrap().1.clone();
    let seen = redfish::answer(&mut board, &request("GET", system, &[("x-auth-token", &token)], ""));
    assert_eq!(seen.body.unwrap()["PowerState"], "On");
    let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    let kind = |kind: &str| format!("{{\"ResetType\":\"{kind}\"}}");
    let odd =
        redfish::answer(&mut board, &request("POST", reset, &[("x-auth-token", &token)], &kind("Explode")));
    assert_eq!((odd.status, board.power.is_on()), (400, true));
    let off =
        redfish::answer(&mut board, &request("POST", reset, &[("x-auth-token", &token)], &kind("ForceOff")));
    assert_eq!((off.status, board.power.is_on()), (204, false));
}

#[test]
fn a_request_is_read_to_its_end_and_no_further() {
    let text = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcdef";
    let read = http::read(&mut &text[..]).unwrap();
    assert_eq!((read.method.as_str(), read.path.as_str(), read.field("host")), ("POST", "/x", Some("a")));
    assert_eq!(read.body, b"abc");
    assert!(http::read(&mut &b"GET /x HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"[..]).is_err());
    assert!(http::read(&mut &b"GET"[..]).is_err());
}
