//! Typed access to the flat map.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::{Entry, Shaped};
use crate::scalar::Mac;
use crate::secret::Secret;
use crate::table;
use crate::value::Value;

/// Typed access for rules and for building the seed.
impl Shaped {
    pub fn has_table(&self, path: &str) -> bool {
        self.tables.contains_key(path)
    }

    /// Whether it was written, rightly or wrongly.
    pub fn written(&self, path: &str) -> bool {
        self.values.contains_key(path) || self.is_bad(path)
    }

    /// The place of a key, else of the nearest table around it, else the start of the text.
    pub fn span(&self, path: &str) -> Range<usize> {
        if let Some(entry) = self.values.get(path) {
            return entry.span.clone();
        }
        let mut at = path;
        loop {
            if let Some(span) = self.tables.get(at) {
                return span.clone();
            }
            match at.rsplit_once('.') {
                Some((parent, _)) => at = parent,
                None => return 0..0,
            }
        }
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.values.get(path)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn secret(&self, path: &str) -> Option<&Secret> {
        match &self.values.get(path)?.value {
            Value::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    pub fn bool(&self, path: &str) -> Option<bool> {
        match self.values.get(path)?.value {
            Value::Bool(yes) => Some(yes),
            _ => None,
        }
    }

    pub fn integer(&self, path: &str) -> Option<i64> {
        match self.values.get(path)?.value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// Bytes of a size.
    pub fn size(&self, path: &str) -> Option<u64> {
        match self.values.get(path)?.value {
            Value::Size(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Milliseconds of a time.
    pub fn millis(&self, path: &str) -> Option<u64> {
        match self.values.get(path)?.value {
            Value::Millis(millis) => Some(millis),
            _ => None,
        }
    }

    /// The items of a list, or the single value as a list of one; empty when absent.
    pub fn items(&self, path: &str) -> Vec<(&Value, Range<usize>)> {
        match self.values.get(path) {
            Some(Entry { value: Value::List(items), .. }) => {
                items.iter().map(|(value, span)| (value, span.clone())).collect()
            }
            Some(Entry { value, span }) => vec![(value, span.clone())],
            None => Vec::new(),
        }
    }

    pub fn nets(&self, path: &str) -> Vec<(IpNet, Range<usize>)> {
        let net = |value: &Value| if let Value::Net(net) = value { Some(*net) } else { None };
        self.items(path).into_iter().filter_map(|(value, span)| Some((net(value)?, span))).collect()
    }

    pub fn addresses(&self, path: &str) -> Vec<(IpAddr, Range<usize>)> {
        let address = |value: &Value| if let Value::Address(address) = value { Some(*address) } else { None };
        self.items(path).into_iter().filter_map(|(value, span)| Some((address(value)?, span))).collect()
    }

    pub fn macs(&self, path: &str) -> Vec<(Mac, Range<usize>)> {
        let mac = |value: &Value| if let Value::Mac(mac) = value { Some(*mac) } else { None };
        self.items(path).into_iter().filter_map(|(value, span)| Some((mac(value)?, span))).collect()
    }

    pub fn texts(&self, path: &str) -> Vec<String> {
        let text = |value: &Value| if let Value::Text(text) = value { Some(text.clone()) } else { None };
        self.items(path).into_iter().filter_map(|(value, _)| text(value)).collect()
    }

    /// Names the author chose under a table, `worker` for example, as they stand in paths.
    pub fn names_under(&self, parent: &str) -> Vec<String> {
        self.tables
            .keys()
            .filter_map(|path| match table::segments(path).as_slice() {
                [first, name] if *first == parent => Some((*name).to_owned()),
                _ => None,
            })
            .collect()
    }
}
