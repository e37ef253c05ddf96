//! Files that stand beside a seed and are named in it. The loader reads them; this library only asks which.

use std::collections::BTreeMap;

use crate::secret::Secret;
use crate::table::{self, Kind};

/// The files a seed names, or why one could not be read.
#[derive(Debug, Clone, Default)]
pub struct Companions {
    files: BTreeMap<String, Result<Secret, String>>,
}

impl Companions {
    /// Reads every file that the seed in `text` names, through `read`: file name to content.
    ///
    /// Names that are not plain file names are not asked for: the check reports them.
    pub fn load(text: &str, mut read: impl FnMut(&str) -> Result<String, String>) -> Self {
        let files = names(text)
            .into_iter()
            .map(|name| {
                let content = read(&name).map(Secret::new);
                (name, content)
            })
            .collect();
        Self { files }
    }

    /// Names of all files, read or not.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Names and contents of all files that were read.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.files.iter().filter_map(|(name, content)| Some((name.as_str(), content.as_ref().ok()?)))
    }

    /// The content of a file. A file that nobody read counts as missing.
    pub(crate) fn get(&self, name: &str) -> Option<Result<&Secret, String>> {
        Some(match self.files.get(name) {
            Some(Ok(content)) => Ok(content),
            Some(Err(why)) => Err(why.clone()),
            None => Err("it was not looked for".to_owned()),
        })
    }

    /// The content without white space at its end, which editors add.
    pub(crate) fn trimmed(&self, name: &str) -> Option<Secret> {
        let content = self.files.get(name)?.as_ref().ok()?;
        Some(Secret::new(content.expose_secret().trim_end().to_owned()))
    }

    /// The content as it is.
    pub(crate) fn whole(&self, name: &str) -> Option<Secret> {
        self.files.get(name)?.as_ref().ok().cloned()
    }
}

/// Names of the files that the seed in `text` names, each once.
#[must_use]
pub fn names(text: &str) -> Vec<String> {
    let shaped = crate::shape::shape(text);
    let mut names: Vec<String> = shaped
        .values
        .keys()
        .filter(|path| table::find(path).is_some_and(|row| matches!(row.kind, Kind::File | Kind::SecretFile)))
        .filter_map(|path| shaped.text(path).map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}
