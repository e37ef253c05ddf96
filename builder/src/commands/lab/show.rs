//! `edgepair lab status`: what both nodes say, side by side.

use super::control::Order;
use super::state::{Lab, Made};
use edgepair_status::table::{Column, render};
use qemu_tests::harness::pair::status;
use qemu_tests::harness::site::Side;
use std::process::ExitCode;

/// Runs the subcommand. Exits with 1 while the pair is not formed.
///
/// # Errors
/// When the lab does not run.
pub fn run(lab: &Lab, json: bool) -> anyhow::Result<ExitCode> {
    let made = lab.running()?;
    let now = lab.order(&Order::Look)?;
    let columns = columns(lab, &made);
    let formed = columns.iter().all(|column| matches!(column, Column::Says(status) if status.formed()));
    if json {
        let said: serde_json::Map<String, serde_json::Value> = Side::BOTH
            .iter()
            .zip(&columns)
            .map(|(side, column)| {
                let value = match column {
                    Column::Says(status) => serde_json::to_value(status)?,
                    Column::Silent { why, .. } => serde_json::json!({ "silent": why }),
                };
                anyhow::Ok((side.letter().to_owned(), value))
            })
            .collect::<anyhow::Result<_>>()?;
        println!("{:#}", serde_json::json!({ "lab": lab.name, "formed": formed, "now": now, "nodes": said }));
    } else {
        print!("{}", render(&columns));
        println!("\nlab {}\n{now}", lab.name);
    }
    Ok(if formed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What both nodes say, or why they do not.
pub fn columns(lab: &Lab, made: &Made) -> Vec<Column> {
    let ask =
        |side: Side| match lab.guest(side).and_then(|mut guest| status(&mut guest, made.spec.seconds(4))) {
            Ok(status) => Column::from(status),
            Err(error) => Column::Silent {
                node: side.letter().to_owned(),
                why: format!("{error:#}").lines().next().unwrap_or_default().to_owned(),
            },
        };
    Side::BOTH.map(ask).into()
}
