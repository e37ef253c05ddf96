//! A text made of lines, with blocks in braces.

/// First line of every rendered file, behind the comment sign.
pub(crate) const NOTICE: &str = "Rendered by edgepair from the seed at every boot; changes here are lost.";

/// Lines with an indentation that follows the blocks.
#[derive(Debug, Default)]
pub(crate) struct Conf {
    text: String,
    depth: usize,
}

impl Conf {
    /// A text that starts with the notice.
    pub fn new() -> Self {
        let mut conf = Self::default();
        conf.line(format!("# {NOTICE}"));
        conf
    }

    pub fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if !line.is_empty() {
            self.text.push_str(&"  ".repeat(self.depth));
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    pub fn lines<T: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = T>) {
        lines.into_iter().for_each(|line| self.line(line));
    }

    /// `head {`, what `inside` adds, `}`.
    pub fn block(&mut self, head: &str, inside: impl FnOnce(&mut Self)) {
        self.line(format!("{head} {{"));
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.line("}");
    }

    /// `[head]` as systemd and INI files have it.
    pub fn section(&mut self, head: &str) {
        self.line("");
        self.line(format!("[{head}]"));
    }

    pub fn finish(self) -> String {
        self.text
    }
}
