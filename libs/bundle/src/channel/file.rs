//! The file's form: what is signed, a line, and the signatures in minisign's format.

use super::{CHANNEL_MAX, Channel};
use crate::Digest;
use crate::read::{check_set, signatures, signatures_text};
use edgepair_findings::Report;
use edgepair_signature::{KeyId, Prehash, Signature, SignatureTextError, TrustedKeys, Untrusted};
use thiserror::Error;

/// The line between what is signed and the signatures. It is a comment, so that the whole begins as a TOML file does.
pub const LINE: &str = "# signatures of everything above this line\n";

/// A file of which nothing has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    text: String,
    signatures: Vec<Signature>,
}

/// A channel that is signed with a trusted key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    channel: Channel,
    signed_by: KeyId,
    digest: Digest,
}

/// Why a channel file is refused.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// Larger than any of ours.
    #[error("the channel file has more than {CHANNEL_MAX} bytes")]
    TooLarge,
    /// Not text, or no line of signatures.
    #[error("this is no channel file: it is not text with the line `{}`", LINE.trim_end())]
    Form,
    /// The signatures cannot be read.
    #[error("the signatures of the channel file cannot be read: {0}")]
    SignatureText(SignatureTextError),
    /// They are written otherwise, too many, or two are by one key.
    #[error(
        "the signatures of the channel file are not in the one form that they have: at most four, each by another key"
    )]
    SignatureForm,
    /// They do not hold.
    #[error("the channel file is not to be trusted: {0}")]
    Untrusted(Untrusted),
    /// The content is signed, and wrong.
    #[error("the channel file is wrong:\n{}", .0.render_short().trim_end())]
    Content(Box<Report>),
    /// It is another channel's.
    #[error("this is the file of channel {found}, and {wanted} was asked for")]
    Name {
        /// Which it is.
        found: String,
        /// Which was asked for.
        wanted: String,
    },
}

impl ChannelError {
    /// What to do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Untrusted(Untrusted::Unsigned) => "sign it with `edgepair channel sign`",
            Self::Untrusted(Untrusted::UnknownKey { .. }) => {
                "check where it comes from; a new key must first come with a release that is signed with an old one"
            }
            Self::SignatureForm | Self::SignatureText(_) => {
                "attach signatures with `edgepair channel sign --attach`, which writes them in this form"
            }
            Self::Content(_) => "make it again with `edgepair channel create` of this release",
            Self::Name { .. } => "put each channel's file under its own name, NAME.channel",
            Self::TooLarge | Self::Form | Self::Untrusted(_) => {
                "do not use it; get it again from where it was made"
            }
        }
    }
}

impl Unverified {
    /// Reads a file, of at most [`CHANNEL_MAX`] bytes.
    ///
    /// # Errors
    /// When it has another form.
    pub fn read(bytes: &[u8]) -> Result<Self, ChannelError> {
        if bytes.len() > CHANNEL_MAX {
            return Err(ChannelError::TooLarge);
        }
        let file = std::str::from_utf8(bytes).map_err(|_| ChannelError::Form)?;
        let (text, seals) = file.split_once(LINE).ok_or(ChannelError::Form)?;
        if !(text.is_empty() || text.ends_with('\n')) {
            return Err(ChannelError::Form);
        }
        let signatures = signatures(seals.as_bytes()).map_err(|error| match error {
            crate::Error::SignatureText(error) => ChannelError::SignatureText(error),
            _ => ChannelError::SignatureForm,
        })?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, unchecked.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The content, for showing it only.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn channel(&self) -> Result<Channel, Box<Report>> {
        Channel::parse("channel", &self.text)
    }

    /// Checks the signature, then reads the content. `name`: the channel that was asked for.
    ///
    /// # Errors
    /// Whatever does not hold. The content is not even parsed when it is not signed.
    pub fn verify(self, keys: &TrustedKeys, name: Option<&str>) -> Result<Signed, ChannelError> {
        let hash = Prehash::of_bytes(self.text.as_bytes());
        let signed_by = keys.verify(&hash, &self.signatures).map_err(ChannelError::Untrusted)?.key_id();
        let channel = self.channel().map_err(ChannelError::Content)?;
        if let Some(wanted) = name.filter(|name| *name != channel.name) {
            return Err(ChannelError::Name { found: channel.name, wanted: wanted.to_owned() });
        }
        Ok(Signed { channel, signed_by, digest: Digest::of(self.text.as_bytes()) })
    }
}

impl Signed {
    /// What it says.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Number of the key.
    #[must_use]
    pub const fn signed_by(&self) -> KeyId {
        self.signed_by
    }

    /// SHA-256 of what is signed: two contents of one serial number are told apart by it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// A file of a text and its signatures; none while it is unsigned.
///
/// # Errors
/// When there are too many, or two by one key.
pub fn assemble(text: &str, signatures: &[Signature]) -> Result<String, ChannelError> {
    check_set(signatures).map_err(|_| ChannelError::SignatureForm)?;
    Ok(format!("{text}{LINE}{}", signatures_text(signatures)))
}
