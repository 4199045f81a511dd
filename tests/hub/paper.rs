//! The paper's recipe, as it is in this repository, against a Hub with small stand-ins under its names.

use std::path::Path;

use crate::world::{World, quickstart, tree};

/// Its models: a language for each of ours, three setups.
fn stand_ins() -> World {
    let world = World::new();
    for (setup, size) in [("1x", "180M"), ("1x-cloned", "572M"), ("2x", "572M")] {
        let languages = [
            ("english", "en"),
            ("estonian", "et"),
            ("faroese", "fo"),
            ("persian", "fa"),
            ("icelandic", "is"),
            ("swedish", "sv"),
        ];
        for (name, ours) in languages {
            world.upload(&format!("liu-nlp/HyperLlama-{size}-{name}-{setup}"), &quickstart(ours));
        }
    }
    world
}

#[test]
fn the_papers_390_merges_are_planned_and_merged_by_name() {
    let world = stand_ins();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/grow-up-and-merge.yaml");
    let planned = world.growmerge().args(["plan", "--json"]).arg(&recipe).assert().success();
    let listed: serde_json::Value = serde_json::from_slice(&planned.get_output().stdout).unwrap();
    assert_eq!(listed["members"].as_array().unwrap().len(), 390);
    let reads = world.reads("model.safetensors");
    assert!(reads.len() == 18 && reads.iter().all(Option::is_some), "headers only: {reads:?}");
    assert!(listed["to_fetch"]["files"].as_u64().unwrap() >= 18, "{}", listed["to_fetch"]);
    let whole = std::fs::metadata(quickstart("en").join("model.safetensors")).unwrap().len() * 18;
    assert!(world.sent() < whole / 2, "{} of {whole} bytes", world.sent());
    let out = world.path("out");
    let only = ["--only", "*_1x_ekk-swe", "--only", "ties_2x_ekk-fao-fas-isl-swe"];
    world.growmerge().args(["merge", "--quiet"]).args(only).arg(&recipe).arg(&out).assert().success();
    let members: Vec<String> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(members.len(), 6, "{members:?}");
    for member in &members {
        world.growmerge().arg("verify").arg(out.join(member)).assert().success();
    }
    // Of the models that were not merged nothing but headers came.
    let files = tree(&world.cache());
    let weights =
        files.iter().filter(|f| f.contains("/snapshots/") && f.ends_with("model.safetensors")).count();
    assert_eq!(weights, 3 + 6, "{files:?}");
}
