//! What the API says when it does not do what it is asked: a `Status` object (Kubernetes API conventions, "Response Status
//! Kind").

use crate::datastore::Failed;
use serde_json::{Value, json};

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// One word for programs.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// The object is not there.
    pub fn not_found(plural: &str, name: &str) -> Self {
        Self { code: 404, reason: "NotFound", message: format!("{plural} \"{name}\" not found") }
    }

    /// The path is not served.
    pub fn no_such_path() -> Self {
        Self {
            code: 404,
            reason: "NotFound",
            message: "the server could not find the requested resource".into(),
        }
    }

    /// The object is there already.
    pub fn exists(plural: &str, name: &str) -> Self {
        Self { code: 409, reason: "AlreadyExists", message: format!("{plural} \"{name}\" already exists") }
    }

    /// The object is not as the request thinks.
    pub fn conflict(plural: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self {
            code: 409,
            reason: "Conflict",
            message: format!("Operation cannot be fulfilled on {plural} \"{name}\": {why}"),
        }
    }

    /// The request is not good.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { code: 400, reason: "BadRequest", message: message.into() }
    }

    /// The object is not good.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: 422, reason: "Invalid", message: message.into() }
    }

    /// Not now.
    pub fn too_many(message: impl Into<String>) -> Self {
        Self { code: 429, reason: "TooManyRequests", message: message.into() }
    }

    /// Not for strangers.
    pub fn unauthorized() -> Self {
        Self { code: 401, reason: "Unauthorized", message: "Unauthorized".into() }
    }

    /// Not for this client.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { code: 403, reason: "Forbidden", message: message.into() }
    }

    /// As it is answered.
    pub fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        Self {
            code: 500,
            reason: "InternalError",
            message: format!("the datastore does not answer: {failed}"),
        }
    }
}
