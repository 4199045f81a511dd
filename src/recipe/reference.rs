//! A model as a recipe names it.

use std::fmt;
use std::path::Path;

use super::Grow;

/// Where a model is, and what is done to it while it is read: an adapter is applied first, then it is widened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelRef {
    /// A local path, or the name of a stage.
    pub path: String,
    /// Which of them.
    pub named: Named,
    /// The revision of a Hub repository.
    pub revision: Option<String>,
    /// What is applied to it.
    pub adapter: Option<AdapterRef>,
    /// How it is widened, if it is.
    pub grow: Option<Grow>,
}

/// What a model's path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// A folder or a file.
    Path,
    /// A document of the same file; see [`Book::position`](super::Book::position).
    Stage,
}

/// Where an adapter is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdapterRef {
    /// A local path.
    pub path: String,
    /// The revision of a Hub repository.
    pub revision: Option<String>,
}

impl AdapterRef {
    /// `path[@revision]`; a path that exists as written is one, whatever is in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) if !Path::new(text).exists() => (path, Some(revision)),
            _ => (text, None),
        };
        if path.trim().is_empty() || revision.is_some_and(|r| r.trim().is_empty()) {
            return Err("a path or a revision in it is empty");
        }
        if revision.is_some_and(|r| r.contains('@')) {
            return Err("it holds more than one `@`");
        }
        Ok(Self { path: path.to_owned(), revision: revision.map(str::to_owned) })
    }
}

impl ModelRef {
    /// The model and nothing else.
    pub(super) fn of(AdapterRef { path, revision }: AdapterRef) -> Self {
        Self { path, named: Named::Path, revision, adapter: None, grow: None }
    }

    /// Everything that has to be found for it: the model as it is stored, and its adapter.
    pub fn parts(&self) -> impl Iterator<Item = AdapterRef> {
        let stored = (self.named == Named::Path).then(|| self.stored());
        stored.into_iter().chain(self.adapter.clone())
    }

    /// The model as it is stored, without what is done to it.
    pub fn stored(&self) -> AdapterRef {
        AdapterRef { path: self.path.clone(), revision: self.revision.clone() }
    }

    /// `path[@revision][+adapter[@revision]]`; a path that exists as written is one, whatever is in it, and so
    /// is a name that is known.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, &'static str> {
        if is_known(text) {
            return Ok(Self::of(AdapterRef { path: text.to_owned(), revision: None }));
        }
        match text.split_once('+') {
            Some((model, adapter)) if !Path::new(text).exists() => {
                if adapter.contains('+') {
                    return Err("it holds more than one `+`");
                }
                let adapter = Some(AdapterRef::parse(adapter)?);
                Ok(Self { adapter, ..Self::of(AdapterRef::parse(model)?) })
            }
            _ => AdapterRef::parse(text).map(Self::of),
        }
    }
}

impl fmt::Display for AdapterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
    }
}

/// As in `base@v2+adapter`: what tells one model of a recipe from another.
impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.adapter.iter().try_for_each(|adapter| write!(f, "+{adapter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_they_are_shown() {
        for text in
            ["base", "own/name@main", "base+lora", "own/name@v1+own/lora@v2", "base+lora@3", "dir/../base"]
        {
            assert_eq!(ModelRef::parse(text, |_| false).unwrap().to_string(), text);
        }
        let model = ModelRef::parse("a@b+c@d", |_| false).unwrap();
        assert_eq!((model.path.as_str(), model.revision.as_deref()), ("a", Some("b")));
        let adapter = model.adapter.unwrap();
        assert_eq!((adapter.path.as_str(), adapter.revision.as_deref()), ("c", Some("d")));
        for (text, why) in [
            ("a+b+c", "more than one `+`"),
            ("a@b@c", "more than one `@`"),
            ("a+b@c@d", "more than one `@`"),
            ("a+", "is empty"),
            ("+b", "is empty"),
            ("a@", "is empty"),
            ("@b", "is empty"),
        ] {
            assert!(ModelRef::parse(text, |_| false).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn paths_that_exist_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a+b@c+d");
        std::fs::create_dir(&odd).unwrap();
        let model = ModelRef::parse(odd.to_str().unwrap(), |_| false).unwrap();
        assert_eq!((model.path.as_str(), model.revision, model.adapter), (odd.to_str().unwrap(), None, None));
        let stage = ModelRef::parse("first+second", |name| name == "first+second").unwrap();
        assert_eq!((stage.path.as_str(), stage.adapter), ("first+second", None));
    }
}
