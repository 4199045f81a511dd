use std::collections::BTreeMap;

use growmerge::arch::{Family, Modules, Position, Role};
use growmerge::problem::Error;
use serde_json::json;

use super::{Outcome, elsewhere, size, table::table};

/// Show what a checkpoint holds: tensors, roles, types, shapes, sizes
#[derive(clap::Args)]
pub(super) struct Args {
    /// A checkpoint folder, one safetensors file, or a repository of the Hub as owner/name[@revision]
    model: String,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    /// Print JSON, tensors included
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    elsewhere: elsewhere::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let model = elsewhere::named(&args.model)?;
    let mut library = args.elsewhere.library(None, std::slice::from_ref(&model))?;
    let checkpoint = library.checkpoint(&model).map_err(Error::from)?;
    let model_type = checkpoint.config().and_then(|c| c.get("model_type")).and_then(|t| t.as_str());
    let family = Family::of(model_type);
    let known = model_type.is_some_and(|t| Family::known().any(|k| k == t));
    let tensors = checkpoint.tensors();
    let modules = Modules::of(&family, tensors.iter().map(|t| t.name.as_str()));
    let towers: Vec<(&str, usize)> =
        modules.iter().filter_map(|m| Some((m.name.as_str(), m.tower.as_ref()?.layers))).collect();
    let layers = towers.iter().map(|(_, layers)| *layers).max().unwrap_or(0);
    let layers_text = match &towers[..] {
        [] | [_] => layers.to_string(),
        several => several.iter().map(|(name, n)| format!("{n} in {name}")).collect::<Vec<_>>().join(", "),
    };
    let parameters: u64 = tensors.iter().map(|t| t.elements() as u64).sum();
    let bytes: u64 = tensors.iter().map(|t| t.range.end - t.range.start).sum();
    let stored_head =
        tensors.iter().any(|t| family.locate(&t.name).role == Role::Head && t.name.ends_with("weight"));
    let tied = tensors.iter().map(|t| t.name.as_str()).find(|name| !stored_head && family.ties_head_to(name));
    let mut dtypes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut roles: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for tensor in tensors {
        *dtypes.entry(tensor.dtype.name()).or_default() += tensor.elements() as u64;
        let role = serde_json::to_value(family.locate(&tensor.name).role)?;
        let entry = roles.entry(role.as_str().unwrap_or_default().to_owned()).or_default();
        *entry = (entry.0 + 1, entry.1 + tensor.elements() as u64);
    }
    if args.json {
        let list: Vec<_> = tensors
            .iter()
            .map(|t| {
                let at = family.locate(&t.name);
                let layer = match at.position {
                    Position::Layer(layer) => Some(layer),
                    _ => None,
                };
                json!({
                    "name": t.name, "dtype": t.dtype.name(), "shape": t.shape, "role": at.role, "layer": layer,
                    "file": checkpoint.files()[t.file].path.file_name().map(|f| f.to_string_lossy()),
                })
            })
            .collect();
        super::print_json(&json!({
            "model": args.model, "model_type": model_type, "roles_from_family": known, "layers": layers,
            "modules": modules.iter().map(|m| json!({
                "name": m.name, "layers": m.tower.as_ref().map_or(0, |t| t.layers),
            })).collect::<Vec<_>>(),
            "parameters": parameters, "bytes": bytes, "files": checkpoint.files().len(),
            "tied_head": tied.is_some(), "dtypes": dtypes, "tensors": list,
        }))?;
        return Ok(Outcome::Done);
    }
    let types: Vec<String> = dtypes.iter().map(|(d, n)| format!("{d} {}", size::count(*n))).collect();
    let family_text = match (model_type, known) {
        (Some(t), true) => t.to_owned(),
        (Some(t), false) => format!("{t} (no family file: roles guessed from names)"),
        (None, _) => "unknown, no config.json (roles guessed from names)".into(),
    };
    let head = match tied {
        Some(embed) => format!("not stored; tied to {embed}"),
        None if stored_head => "stored".into(),
        None => "none found".into(),
    };
    let text = format!(
        "{}\n  model type  {family_text}\n  parameters  {} ({parameters})\n  tensors     {} in {} file{}, {}\n  \
         layers      {layers_text}\n  types       {}\n  head        {head}\n\n",
        args.model,
        size::count(parameters),
        tensors.len(),
        checkpoint.files().len(),
        if checkpoint.files().len() == 1 { "" } else { "s" },
        size::show(bytes),
        types.join(", "),
    );
    super::print(&text)?;
    let rows: Vec<Vec<String>> =
        roles.into_iter().map(|(role, (n, p))| vec![role, n.to_string(), size::count(p)]).collect();
    super::print(&table(&["role", ">tensors", ">parameters"], &rows))?;
    if args.tensors {
        let rows: Vec<Vec<String>> = tensors
            .iter()
            .map(|t| {
                let role = serde_json::to_value(family.locate(&t.name).role).unwrap_or_default();
                vec![
                    t.name.clone(),
                    t.dtype.name().into(),
                    format!("{:?}", t.shape),
                    role.as_str().unwrap_or_default().into(),
                ]
            })
            .collect();
        super::print("\n")?;
        super::print(&table(&["tensor", "type", "shape", "role"], &rows))?;
    }
    Ok(Outcome::Done)
}
