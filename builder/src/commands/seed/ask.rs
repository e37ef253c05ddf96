//! Questions on a terminal.

use std::io::{BufRead, IsTerminal, Write};

/// Whether somebody is there to answer.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks until the answer is one that `judge` takes. An empty answer stands for `default`.
///
/// # Errors
/// When the input ends.
pub fn ask(
    question: &str,
    default: &str,
    judge: impl Fn(&str) -> Result<(), String>,
) -> anyhow::Result<String> {
    from(&mut std::io::stdin().lock(), &mut std::io::stderr(), question, default, judge)
}

fn from(
    input: &mut impl BufRead,
    output: &mut impl Write,
    question: &str,
    default: &str,
    judge: impl Fn(&str) -> Result<(), String>,
) -> anyhow::Result<String> {
    loop {
        let hint = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        write!(output, "{question}{hint}: ")?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            anyhow::bail!("the input ended before all questions were answered; nothing was written");
        }
        let answer = if line.trim().is_empty() { default } else { line.trim() };
        match judge(answer) {
            Ok(()) => return Ok(answer.to_owned()),
            Err(why) => writeln!(output, "  {why}")?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<(), String> {
        text.parse::<u8>().map(|_| ()).map_err(|_| "not a number".to_owned())
    }

    #[test]
    fn asks_again_until_the_answer_will_do() {
        let mut shown = Vec::new();
        let answer = from(&mut "x\n\n7\n".as_bytes(), &mut shown, "how many", "", number).expect("an answer");
        assert_eq!(answer, "7");
        assert_eq!(String::from_utf8_lossy(&shown).matches("not a number").count(), 2);
        assert_eq!(
            from(&mut "\n".as_bytes(), &mut shown, "how many", "3", number).expect("the default"),
            "3"
        );
        assert!(from(&mut "x\n".as_bytes(), &mut shown, "how many", "", number).is_err());
    }
}
