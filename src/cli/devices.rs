use growmerge::device::cpu::Cpu;
use growmerge::device::cuda::driver::Missing;
use growmerge::device::cuda::driver::survey::{Found, Survey};
use serde_json::json;

use super::{Outcome, size};

/// Show what merges can run on: this CPU, CUDA cards, and what is missing for them
///
/// Times copies to and from each card (256 MiB, the best of three). Kernels are compiled by NVRTC, which is looked for in the folder
/// GROWMERGE_NVRTC, else where the system and CUDA's toolkits have it, and kept in the folder GROWMERGE_KERNEL_CACHE, else
/// with the user's caches; set to nothing, none is kept.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let survey = Survey::new();
    match args.json {
        true => super::print_json(&json(&survey))?,
        false => super::print(&describe(&survey))?,
    }
    Ok(Outcome::Done)
}

fn describe(survey: &Survey) -> String {
    let cores = super::cores();
    let mut lines = vec![
        ("CPU".to_owned(), format!("{}, {}", many(cores, "core"), Cpu::new().vectors())),
        ("driver".into(), survey.driver.map_or("none".into(), |version| format!("CUDA {version}"))),
    ];
    for card in &survey.cards {
        lines.push((format!("card {}", card.ordinal), show(card)));
        lines.push((String::new(), copies(card)));
    }
    let compiler = survey.compiler.as_ref();
    lines.push((
        "NVRTC".into(),
        compiler.map_or("none".into(), |c| format!("CUDA {}, from {}", c.version, c.from)),
    ));
    let kernels = survey.cache.as_ref().map_or("not kept".into(), |cache| {
        let (kernels, bytes) = cache.size();
        format!("{} ({}, {})", cache.folder().display(), many(kernels, "kernel"), size::show(bytes))
    });
    lines.push(("kernels".into(), kernels));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text: String = lines.iter().map(|(name, what)| format!("{name:width$}  {what}\n")).collect();
    for missing in &survey.missing {
        text.push_str(&format!("\n{missing}\n"));
        if let Some(hint) = missing.hint() {
            text.push_str(&format!("{hint}\n"));
        }
    }
    text
}

fn show(card: &Found) -> String {
    format!(
        "{}, compute capability {}, {}, {} of {} free",
        card.name,
        card.arch,
        many(card.processors as usize, "multiprocessor"),
        size::show(card.memory.free),
        size::show(card.memory.total),
    )
}

fn copies(card: &Found) -> String {
    card.bandwidth.map_or("copies could not be timed".into(), |b| {
        format!("copies {:.1} GB/s to the card, {:.1} GB/s from it", b.upload / 1e9, b.download / 1e9)
    })
}

fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn json(survey: &Survey) -> serde_json::Value {
    let card = |card: &Found| {
        json!({
            "ordinal": card.ordinal,
            "name": card.name,
            "compute_capability": card.arch.to_string(),
            "multiprocessors": card.processors,
            "free_bytes": card.memory.free,
            "total_bytes": card.memory.total,
            "copies_bytes_per_second": card.bandwidth.map(|b| json!({"to": b.upload, "from": b.download})),
        })
    };
    json!({
        "cpu": {"cores": super::cores(), "vectors": Cpu::new().vectors()},
        "driver": survey.driver.map(|version| version.to_string()),
        "cards": survey.cards.iter().map(card).collect::<Vec<_>>(),
        "nvrtc": survey.compiler.as_ref().map(|compiler| json!({
            "version": compiler.version.to_string(),
            "from": compiler.from,
            "compute_capabilities": compiler.archs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })),
        "kernels": survey.cache.as_ref().map(|cache| {
            let (kernels, bytes) = cache.size();
            json!({"folder": cache.folder(), "kernels": kernels, "bytes": bytes})
        }),
        "missing": survey.missing.iter().map(missing).collect::<Vec<_>>(),
    })
}

fn missing(missing: &Missing) -> serde_json::Value {
    json!({"what": missing.to_string(), "hint": missing.hint()})
}
