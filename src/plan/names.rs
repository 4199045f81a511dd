//! Where an input keeps a tensor: under its name, under another one, or as the tensor that it is tied to.

use super::Input;
use super::builder::Builder;
use super::segment::{Part, Scope};
use crate::arch::{Family, Role};

impl Builder<'_> {
    /// The name under which a tensor is planned: that of the model that gives the config, if it has the tensor
    /// under another one.
    pub(super) fn canonical(&self, name: &str) -> String {
        let known = |name: &str| find(&self.inputs[self.donor], name).is_some();
        if known(name) {
            return name.to_owned();
        }
        let aliases = self.anatomy.family.aliases(name);
        aliases.into_iter().find(|alias| known(alias)).unwrap_or_else(|| name.to_owned())
    }

    /// Whether a tensor is in a part, by the name under which it is planned.
    pub(super) fn in_part(&self, part: &Part<'_>, name: &str) -> bool {
        let module = || self.anatomy.modules.holding(name).is_some_and(|m| m.name == part.module.name);
        part.scope == Scope::Whole || module()
    }

    pub(super) fn is_head(&self, name: &str) -> bool {
        self.anatomy.family.locate(name).role == Role::Head
    }

    /// [`look_up`] by the names of the model that gives the config.
    pub(super) fn look_up(&self, input: &Input, name: &str) -> Option<usize> {
        look_up(input, &self.anatomy.family, name)
    }
}

/// A tensor by its name, by an alias, or by the tensor it is tied to.
pub(super) fn look_up(input: &Input, family: &Family, name: &str) -> Option<usize> {
    let by_any_name = |name: &str| {
        find(input, name).or_else(|| family.aliases(name).iter().find_map(|alias| find(input, alias)))
    };
    by_any_name(name).or_else(|| {
        let is_head = family.locate(name).role == Role::Head;
        let tied = !is_head || !says_untied(input);
        tied.then(|| family.tied(name).find_map(by_any_name))?
    })
}

/// A tensor's position by its name alone.
fn find(input: &Input, name: &str) -> Option<usize> {
    input.tensors().binary_search_by(|t| t.name.as_str().cmp(name)).ok()
}

/// Whether the config says in so many words that head and embedding are two matrices.
pub(super) fn says_untied(input: &Input) -> bool {
    let tied = |config: &serde_json::Value| config.get("tie_word_embeddings")?.as_bool();
    let Some(config) = input.config() else { return false };
    tied(config).or_else(|| tied(config.get("text_config")?)) == Some(false)
}
