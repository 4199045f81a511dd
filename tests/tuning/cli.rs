//! `growmerge tune` as it is called.

use super::support::command;
use super::{quickstart, recipe, text};

/// A folder with a recipe and texts, to run the command in.
pub(crate) struct World(pub(crate) tempfile::TempDir);

impl World {
    pub(crate) fn new(recipe: &str) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        std::fs::write(world.0.path().join("r.yaml"), recipe).unwrap();
        std::fs::create_dir(world.0.path().join("texts")).unwrap();
        for language in ["en", "et", "fa"] {
            let text = text(language, 0, 40).documents.join("\n");
            std::fs::write(world.0.path().join(format!("texts/{language}.txt")), text).unwrap();
        }
        world
    }

    /// Runs `tune r.yaml -o out.yaml` with these words too: exit code, and all that was printed.
    pub(crate) fn tune(&self, words: &str) -> (i32, String) {
        let mut command = command();
        command.current_dir(self.0.path()).args(["tune", "r.yaml", "-o", "out.yaml"]);
        let output = command.args(words.split_whitespace()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }
}

#[test]
fn the_command_writes_a_recipe_that_merges() {
    let world = World::new(&recipe());
    let (code, said) =
        world.tune("--texts texts --share en=0.5 --steps 6 --every 3 --tokens 60 --html page.html");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("out.yaml: ") && said.contains("objective"), "{said}");
    let page = std::fs::read_to_string(world.0.path().join("page.html")).unwrap();
    assert!(
        page.contains("Coefficients of et") && page.contains("self_attn.q_proj"),
        "pictures of each model"
    );
    let merge = command()
        .current_dir(world.0.path())
        .args(["merge", "out.yaml", "model", "--quiet"])
        .output()
        .unwrap();
    assert!(merge.status.success(), "{}", String::from_utf8_lossy(&merge.stderr));
    let manifest = std::fs::read_to_string(world.0.path().join("model/growmerge.json")).unwrap();
    assert!(manifest.contains("out.safetensors"), "the manifest names the coefficients");
}

#[test]
fn what_is_wrong_is_told_before_anything_is_learned() {
    let world = World::new(&recipe());
    let texts = "--texts texts --steps 2";
    for (words, wanted) in [
        ("", "there is no text to fit coefficients to"),
        ("--texts nowhere", "nowhere"),
        ("--texts texts --share sv=2", "there is no text of `sv`"),
        ("--texts texts --held-out fo=texts/et.txt", "there is no text of `fo`"),
        ("--texts texts --share en=-1", "`-1` is no number above zero"),
        ("--texts texts --rate 0", "0 is no number above zero"),
        ("--texts texts --context 100000", "windows of 100000 tokens are longer"),
        ("--texts texts --html nowhere/page.html", "there is no such folder to write to"),
    ] {
        let (code, said) = world.tune(words);
        assert_eq!(code, 2, "{words}: {said}");
        assert!(said.contains(wanted), "{words}: {said}");
    }
    let refused = |recipe: &str, wanted: &str| {
        let (code, said) = World::new(recipe).tune(texts);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    refused(&recipe().replace("task_arithmetic", "ties"), "`ties` is not a sum of differences");
    let norms = recipe().replace("weight: 0.5", "weight: {norms: rows}");
    refused(&norms, "a weight that follows from the differences");
    let model = |name: &str| quickstart(name).display().to_string();
    let slices = format!(
        "merge_method: task_arithmetic\nbase_model: {0}\nslices:\n  - sources:\n    - {{model: {0}, layer_range: [0, 4]}}\n    \
         - {{model: {1}, layer_range: [0, 4]}}\nparameters: {{weight: 1}}\n",
        model("en"),
        model("et")
    );
    refused(&slices, "write the recipe without slices and modules");
    let world_of_nothing = World::new(&recipe().replace("weight: 0.5", "weight: 0"));
    let (code, said) = world_of_nothing.tune("--texts texts --steps 2 --groups layer");
    assert!(code == 2 && said.contains("is 0, from which a factor cannot lead away"), "{said}");
    for (output, wanted) in [
        ("out.txt", "must end in .yaml"),
        ("nowhere/out.yaml", "there is no such folder"),
        ("r.yaml", "is the recipe itself"),
        ("old.yaml", "is there already"),
    ] {
        std::fs::write(world.0.path().join("old.yaml"), "mine").unwrap();
        let mut command = command();
        command.current_dir(world.0.path()).args(["tune", "r.yaml", "-o", output]);
        let told = command.args(texts.split_whitespace()).output().unwrap();
        let (code, said) = (told.status.code().unwrap(), String::from_utf8(told.stderr).unwrap());
        assert!(code == 2 && said.contains(wanted), "{output}: {said}");
        assert_eq!(std::fs::read(world.0.path().join("old.yaml")).unwrap(), b"mine");
    }
    std::fs::write(world.0.path().join("out.tune-state"), "x").unwrap();
    let (code, said) = world.tune(texts);
    assert!(code == 2 && said.contains("--resume"), "{said}");
    let (code, said) = world.tune("--texts texts --steps 2 --resume");
    assert!(code == 2 && said.contains("out.tune-state"), "{said}");
}
