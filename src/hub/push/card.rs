//! The model card is asked about before anything large moves: the Hub refuses a commit with a bad one.

use reqwest::Method;
use serde_json::json;

use super::Target;
use super::files::{CARD, LocalFile};
use crate::hub::retry;
use crate::problem::{Error, ExecError};

/// Asks the Hub what it thinks of the card's metadata.
pub(super) fn check(target: &Target<'_>, files: &[&LocalFile]) -> Result<(), Error> {
    let Some(card) = files.iter().find(|file| file.path == CARD) else { return Ok(()) };
    let bytes = std::fs::read(&card.on_disk).map_err(ExecError::io("read", &card.on_disk))?;
    let question = json!({ "repoType": "model", "content": String::from_utf8_lossy(&bytes) });
    let (web, about) = (target.web, target.about().file(CARD));
    let url = || web.url(["api", "validate-yaml"]);
    retry::run(web.policy(), |_| web.send(&about, Method::POST, url(), |request| request.json(&question)))?;
    Ok(())
}
