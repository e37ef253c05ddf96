//! As much of HTTP/1.1 (RFC 9112) as a board needs: one request, one answer, then the connection is closed.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::io::{Read, Write};

/// Longest head and body, bytes.
const HEAD: usize = 16 << 10;
const BODY: usize = 64 << 10;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(&'static str, String)>,
    pub body: Option<Value>,
}

impl Answer {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, fields: Vec::new(), body: Some(body) }
    }
}

pub fn read(stream: &mut impl Read) -> anyhow::Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD, "the head of a request is too long");
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = first.next().zip(first.next()).context("not a request line")?;
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method: method.to_owned(), path: path.to_owned(), fields, body: Vec::new() };
    let length: usize = request.field("content-length").map_or(Ok(0), str::parse)?;
    ensure!(length <= BODY, "the body of a request is too long");
    request.body = vec![0; length];
    stream.read_exact(&mut request.body)?;
    Ok(request)
}

pub fn write(stream: &mut impl Write, answer: &Answer) -> std::io::Result<()> {
    let body = answer.body.as_ref().map(|body| format!("{body}\n")).unwrap_or_default();
    let reason = match answer.status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        _ => "Internal Server Error",
    };
    let mut text =
        format!("HTTP/1.1 {} {reason}\r\nConnection: close\r\nOData-Version: 4.0\r\n", answer.status);
    for (name, value) in &answer.fields {
        text += &format!("{name}: {value}\r\n");
    }
    if answer.status != 204 {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    stream.write_all((text + &body).as_bytes())
}
