//! The recipes `fisher.yaml` and `regmean.yaml`, with files that are measured here: they are better than the mean.

use growmerge::eval::{Evaluator, Model, ModelSource, Reading, Rules, Split, Start, Text, Unit};
use growmerge::importance::{Fisher, Grams, Sampling, Task};
use growmerge::plan::PlanOptions;

use crate::support::Silent;

const LANGUAGES: [&str; 5] = ["et", "fa", "fo", "is", "sv"];

fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes")
}

fn text(language: &str) -> Text {
    let path = root().join("quickstart/texts").join(format!("{language}.txt"));
    Text::read(language, &path, &Reading { split: Split::Line, field: "text".into() }).unwrap()
}

fn model(name: &str) -> Model {
    ModelSource::open(name, &PlanOptions::default()).unwrap().load(2, &Silent).unwrap()
}

/// Mean bits per byte over the languages, on sentences that nothing was measured on.
fn bits(recipe: &str, texts: &[Text]) -> f64 {
    let rules =
        Rules { unit: Unit::Document, split: Split::Line, context: 128, stride: 64, start: Start::Auto };
    let evaluator =
        Evaluator { texts, pairs: &[], rules: &rules, tokenizer: None, threads: 2, progress: &Silent };
    let evaluation = evaluator.evaluate(&model(recipe)).unwrap();
    let bits = evaluation.languages.iter().map(|l| l.measured.bits_per_byte().value);
    bits.sum::<f64>() / evaluation.languages.len() as f64
}

#[test]
fn what_matters_to_a_language_helps_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut held_out = Vec::new();
    for language in LANGUAGES {
        let mut text = text(language);
        held_out.push(Text { documents: text.documents.split_off(200), ..text.clone() });
        let model = model(root().join("quickstart").join(language).to_str().unwrap());
        let sampling = Sampling { tokens: 5000, context: 128, seed: 0 };
        let task = Task {
            model: &model,
            text: &text,
            tokenizer: None,
            start: &Start::Auto,
            sampling,
            threads: 2,
            progress: &Silent,
        };
        let at = |kind: &str| folder.path().join(format!("{kind}-{language}.safetensors"));
        Fisher::measure(&task).unwrap().save(&at("fisher")).unwrap();
        Grams::measure(&task).unwrap().save(&at("gram")).unwrap();
    }
    let recipe = |name: &str| {
        let text = std::fs::read_to_string(root().join(format!("{name}.yaml"))).unwrap();
        let text = text.replace("out/importance/", &format!("{}/", folder.path().display()));
        let text = text.replace("recipes/quickstart", root().join("quickstart").to_str().unwrap());
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&path, text).unwrap();
        bits(path.to_str().unwrap(), &held_out)
    };
    let (linear, fisher, regmean) = (recipe("linear"), recipe("fisher"), recipe("regmean"));
    println!("linear {linear:.4}, fisher {fisher:.4}, regmean {regmean:.4}");
    assert!(fisher < linear - 0.5 && regmean < linear - 0.05, "{linear} {fisher} {regmean}");
}
