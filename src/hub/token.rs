//! An access token, which is never shown.

use std::fmt;

use reqwest::header::HeaderValue;

/// An access token of the Hub. Neither `Debug` nor any message shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token without the white space around it, as files and variables have it.
    ///
    /// # Errors
    /// If it holds what no token holds: it could not be sent.
    pub fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        match text.trim() {
            "" => Ok(None),
            token if token.bytes().all(|b| b.is_ascii_graphic()) => Ok(Some(Self(token.to_owned()))),
            _ => Err("holds characters that are in no token"),
        }
    }

    /// The value of `Authorization`. It is marked, so that no logging shows it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// For the one library that wants it as it is.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }

    /// A server's words, should they repeat the token.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_trimmed_and_not_shown() {
        let token = Token::parse(" hf_secret\n").unwrap().unwrap();
        let header = token.header().unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer hf_secret");
        for shown in [format!("{token:?}"), format!("{header:?}"), token.redact("no hf_secret here")] {
            assert!(!shown.contains("secret"), "{shown}");
        }
        assert_eq!(Token::parse(" \n"), Ok(None));
        assert!(Token::parse("hf_a\nhf_b").is_err() && Token::parse("hf_ä").is_err());
    }
}
