//! From what TOML says to what a key means: one parser for each [`Kind`] of value.

use std::net::IpAddr;
use std::ops::Range;

use edgepair_window::Window;
use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use crate::scalar::{self, Fingerprint, Mac, Port};
use crate::secret::Secret;
use crate::table::Kind;

/// A value that has the form its key asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Secret(Secret),
    Bool(bool),
    Integer(i64),
    Address(IpAddr),
    /// An address with its network, or a network.
    Net(IpNet),
    Mac(Mac),
    /// Bytes.
    Size(u64),
    /// Milliseconds.
    Millis(u64),
    Fingerprint(Fingerprint),
    Port(Port),
    Window(Window),
    List(Vec<(Self, Range<usize>)>),
    Anything(serde_json::Value),
}

/// Why a value does not have the form its key asks for. Never contains the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub span: Range<usize>,
    pub code: &'static str,
    pub reason: String,
    pub fix: String,
}

/// Reads a value of the document as `kind`. Every item of a list that does not fit is reported.
pub(crate) fn parse(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<Value, Vec<Misfit>> {
    let span = value.span();
    let misfit = |code, reason: String, fix: String| vec![Misfit { span: span.clone(), code, reason, fix }];
    let wrong_type = || {
        misfit(
            "wrong-type",
            format!("this is {}", type_of(value.get_ref())),
            format!("write {}", kind.expects()),
        )
    };
    match kind {
        Kind::Bool => value.get_ref().as_bool().map(Value::Bool).ok_or_else(wrong_type),
        Kind::Integer(low, high) => {
            let DeValue::Integer(number) = value.get_ref() else { return Err(wrong_type()) };
            let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
            match parsed {
                Some(number) if (low..=high).contains(&number) => Ok(Value::Integer(number)),
                _ => Err(misfit(
                    "out-of-range",
                    format!("{} is out of range", number.as_str()),
                    format!("write {}", kind.expects()),
                )),
            }
        }
        Kind::List(item) => {
            let DeValue::Array(items) = value.get_ref() else { return Err(wrong_type()) };
            list(*item, items.iter())
        }
        Kind::OneOrMore(item) => match value.get_ref() {
            DeValue::Array(items) if items.is_empty() => {
                Err(misfit("empty", "the list is empty".into(), format!("write {}", item.expects())))
            }
            DeValue::Array(items) => list(*item, items.iter()),
            _ => list(*item, std::iter::once(value)),
        },
        Kind::Anything => Ok(Value::Anything(to_json(value.get_ref()))),
        _ => {
            let DeValue::String(text) = value.get_ref() else { return Err(wrong_type()) };
            from_text(kind, text).map_err(|why| misfit(why.code, why.reason, why.fix))
        }
    }
}

fn list<'a, 'i: 'a>(
    kind: Kind,
    items: impl Iterator<Item = &'a Spanned<DeValue<'i>>>,
) -> Result<Value, Vec<Misfit>> {
    let mut values = Vec::new();
    let mut misfits = Vec::new();
    for item in items {
        match parse(kind, item) {
            Ok(value) => values.push((value, item.span())),
            Err(more) => misfits.extend(more),
        }
    }
    if misfits.is_empty() { Ok(Value::List(values)) } else { Err(misfits) }
}

/// What is wrong with a text, without its place.
pub(crate) struct Why {
    pub code: &'static str,
    pub reason: String,
    pub fix: String,
}

/// Reads a text as `kind`.
fn from_text(kind: Kind, text: &str) -> Result<Value, Why> {
    let why = |reason: String| Why { code: "bad-value", reason, fix: format!("write {}", kind.expects()) };
    if text.is_empty() {
        return Err(Why {
            code: "empty",
            reason: "the text is empty".into(),
            fix: format!("write {}, or leave the key out", kind.expects()),
        });
    }
    if text.chars().any(char::is_control) {
        // Rendered files are made of lines; a line break in a value would be another line of configuration.
        return Err(why("there are line breaks or control characters in it".into()));
    }
    let good = || Ok(Value::Text(text.to_owned()));
    let form = |result: Result<(), String>| result.map_err(why).and_then(|()| good());
    match kind {
        Kind::OneOf(words) => {
            if words.contains(&text) {
                return good();
            }
            let hint = edgepair_findings::closest(text, words.iter().copied()).map_or_else(
                || format!("write {}", kind.expects()),
                |word| format!("did you mean \"{word}\"?"),
            );
            Err(Why {
                code: "unknown-word",
                reason: format!("\"{text}\" is none of the words known here"),
                fix: hint,
            })
        }
        Kind::Label => form(scalar::label(text)),
        Kind::Domain => form(scalar::domain(text)),
        Kind::Host => form(scalar::host(text)),
        Kind::Url => form(scalar::url(text)),
        Kind::Device => form(scalar::device(text)),
        Kind::File | Kind::SecretFile => form(scalar::companion(text)),
        Kind::SshKey => form(scalar::ssh_key(text)),
        Kind::KubeLabel => form(scalar::kube_label(text)),
        Kind::KubeTaint => form(scalar::kube_taint(text)),
        Kind::Zone => form(scalar::zone(text)),
        Kind::Text => form(scalar::plain(text)),
        Kind::Address => scalar::address(text).map(Value::Address).map_err(why),
        Kind::Interface => scalar::interface(text).map(Value::Net).map_err(why),
        Kind::Network => scalar::network(text).map(Value::Net).map_err(why),
        Kind::Mac => Mac::parse(text).map(Value::Mac).map_err(why),
        Kind::Size => scalar::size(text).map(Value::Size).map_err(why),
        Kind::Duration => scalar::duration(text).map(Value::Millis).map_err(why),
        Kind::Fingerprint => Fingerprint::parse(text).map(Value::Fingerprint).map_err(why),
        Kind::Port => Port::parse(text).map(Value::Port).map_err(why),
        Kind::Window => {
            Window::parse(text).map(Value::Window).map_err(|error| why(format!("\"{text}\": {error}")))
        }
        Kind::Secret => Ok(Value::Secret(Secret::new(text.to_owned()))),
        // Not texts: `parse` has dealt with them before.
        Kind::Bool | Kind::Integer(..) | Kind::List(_) | Kind::OneOrMore(_) | Kind::Anything => {
            Err(why("this is a text".into()))
        }
    }
}

/// The type of a value in words.
pub(crate) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn to_json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().into(), serde_json::Value::from),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| number.as_str().into(), serde_json::Value::from)
        }
        DeValue::Boolean(yes) => (*yes).into(),
        DeValue::Datetime(when) => when.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => serde_json::Value::Object(
            table.iter().map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref()))).collect(),
        ),
    }
}
