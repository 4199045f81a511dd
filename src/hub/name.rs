//! Names of repositories.

use std::fmt;

/// Of the owner, and of what they call it.
const LONGEST: usize = 96;

/// A repository's name, `owner/name`, within the Hub's rules for names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName {
    text: String,
    slash: usize,
}

impl RepoName {
    /// `owner/name`, and nothing that could be a path out of its folder: one slash; letters, digits, `-`, `_` and
    /// `.`; neither part begins or ends with `-` or `.`; no `--`, which separates the parts in names of cache
    /// folders, and no `..`; no `.git` at the end.
    pub fn parse(text: &str) -> Option<Self> {
        let (owner, name) = text.split_once('/')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let part = |p: &str| {
            (1..=LONGEST).contains(&p.len()) && p.chars().all(plain) && p.trim_matches(['-', '.']) == p
        };
        let fits = part(owner) && part(name) && !text.contains("--") && !text.contains("..");
        (fits && !text.ends_with(".git")).then(|| Self { text: text.to_owned(), slash: owner.len() })
    }

    /// Who has it.
    pub fn owner(&self) -> &str {
        &self.text[..self.slash]
    }

    /// What they call it.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// `owner/name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_and_nothing_else() {
        let longest = format!("{}/{}", "o".repeat(96), "n".repeat(96));
        for text in ["liu-nlp/hyperllama-180m-estonian-1x", "a/b", "A_b/1.5-x_", "_a/b", &longest] {
            let name = RepoName::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(format!("{}/{}", name.owner(), name.name()), text);
        }
        let longer = format!("o/{}", "n".repeat(97));
        for text in [
            "", "/", "a", "a/", "/a", "a/b/c", "./a", "../a", "~/a", "a/.", "a/..", "a/b..c", "a--b/c",
            "a/-b", "a/b-", ".a/b", "a/b.", "a/b.git", "ä/b", "a b/c", "a/b@main", "a/b%2f", "a\\b/c",
            &longer,
        ] {
            assert_eq!(RepoName::parse(text), None, "{text}");
        }
    }
}
