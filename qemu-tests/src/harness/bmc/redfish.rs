//! Requests and their answers (DMTF DSP0266, "Redfish Specification", and its schemas `ServiceRoot`, `ComputerSystem`,
//! `Session`).

use super::Board;
use super::http::{Answer, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const ROOT: &str = "/redfish/v1";
const SYSTEMS: &str = "/redfish/v1/Systems";
const SYSTEM: &str = "/redfish/v1/Systems/1";
const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

pub(super) fn answer(board: &mut Board, request: &Request) -> Answer {
    let path = request.path.trim_end_matches('/');
    match (request.method.as_str(), path) {
        // The root and a login are open to everybody.
        ("GET", ROOT) => Answer::json(200, root()),
        ("POST", SESSIONS) => login(board, request),
        _ if !may(board, request) => error(401, "Base.1.0.AccessDenied", "login name or password is wrong"),
        ("GET", SYSTEMS) => Answer::json(200, json!({ "Members": [{ "@odata.id": SYSTEM }] })),
        ("GET", SYSTEM) => Answer::json(200, system(board.power.is_on())),
        ("POST", RESET) => reset(board, request),
        ("GET" | "POST", _) => error(404, "Base.1.0.ResourceMissingAtURI", "there is nothing"),
        _ => error(400, "Base.1.0.ActionNotSupported", "this board does not do that"),
    }
}

fn root() -> Value {
    json!({
        "@odata.id": ROOT, "Id": "RootService", "Name": "Lab", "RedfishVersion": "1.6.0",
        "Systems": { "@odata.id": SYSTEMS },
        "Links": { "Sessions": { "@odata.id": SESSIONS } },
    })
}

fn system(on: bool) -> Value {
    let kinds = ["On", "ForceOff", "ForceRestart"];
    json!({
        "@odata.id": SYSTEM, "Id": "1", "Name": "Machine of the lab", "SystemType": "Physical",
        "PowerState": if on { "On" } else { "Off" },
        "Actions": { "#ComputerSystem.Reset": { "target": RESET, "ResetType@Redfish.AllowableValues": kinds } },
    })
}

fn login(board: &mut Board, request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if body["UserName"] != board.login.user.as_str() || body["Password"] != board.login.password.as_str() {
        return error(401, "Base.1.0.AccessDenied", "login name or password is wrong");
    }
    let mut random = [0_u8; 16];
    if getrandom::fill(&mut random).is_err() {
        return error(500, "Base.1.0.InternalError", "no random numbers");
    }
    let token = STANDARD.encode(random);
    board.tokens.push(token.clone());
    let at = format!("{SESSIONS}/{}", board.tokens.len());
    let mut answer = Answer::json(201, json!({ "@odata.id": at, "UserName": board.login.user }));
    answer.fields = vec![("X-Auth-Token", token), ("Location", at)];
    answer
}

/// Basic authentication (RFC 7617), or the token of a session.
fn may(board: &Board, request: &Request) -> bool {
    let wanted = STANDARD.encode(format!("{}:{}", board.login.user, board.login.password));
    let basic = request.field("authorization").and_then(|value| value.strip_prefix("Basic "));
    let token = request.field("x-auth-token");
    basic == Some(wanted.as_str())
        || token.is_some_and(|token| board.tokens.iter().any(|known| known == token))
}

fn reset(board: &mut Board, request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let kind = body["ResetType"].as_str().unwrap_or_default();
    board.asked.push(kind.to_owned());
    let steps: &[bool] = match kind {
        "On" => &[true],
        "ForceOff" => &[false],
        "ForceRestart" => &[false, true],
        _ => return error(400, "Base.1.0.ActionParameterNotSupported", "not a ResetType of this board"),
    };
    for on in steps {
        if board.power.is_on() != *on
            && let Err(why) = board.power.set(*on)
        {
            return error(500, "Base.1.0.InternalError", &format!("{why:#}"));
        }
    }
    Answer { status: 204, fields: Vec::new(), body: None }
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, json!({ "error": { "code": code, "message": message } }))
}
