//! JSON, for other programs.

use serde_json::{Value, json};

use super::Report;
use crate::eval::{Evaluation, JudgedPairs, Language, Why};

/// The report as one JSON object. Standard errors are `null` where there is only one unit.
pub fn json(report: &Report<'_>) -> Value {
    let mut value = json!({
        "growmerge": env!("CARGO_PKG_VERSION"),
        "models": report.evaluations.iter().map(evaluation).collect::<Vec<_>>(),
    });
    if report.layout == super::Layout::Compared {
        value["differences"] = differences(report.evaluations);
    }
    if let Some(verdicts) = report.verdicts {
        value["passed"] = json!(verdicts.iter().all(|v| v.why != Why::Worse));
        value["verdicts"] = json!(verdicts);
    }
    value
}

fn evaluation(e: &Evaluation) -> Value {
    json!({
        "model": e.model,
        "weights_sha256": e.digest,
        "tokenizer_sha256": e.tokenizer_sha256,
        "start": e.start,
        "rules": e.rules,
        "languages": e.languages.iter().map(language).collect::<Vec<_>>(),
        "pairs": e.pairs.iter().map(pairs).collect::<Vec<_>>(),
    })
}

fn language(l: &Language) -> Value {
    let total = l.measured.total();
    json!({
        "language": l.language,
        "sentences": l.documents - l.skipped,
        "skipped": l.skipped,
        "text_sha256": l.text_sha256,
        "units": l.measured.units.len(),
        "tokens": total.tokens,
        "bytes": total.bytes,
        "nats": total.nats,
        "nats_per_token": l.measured.nats_per_token(),
        "perplexity": l.measured.perplexity(),
        "bits_per_byte": l.measured.bits_per_byte(),
        "tokens_per_second": l.tokens_per_second,
    })
}

fn pairs(p: &JudgedPairs) -> Value {
    json!({ "language": p.language, "pairs": p.judged.pairs(), "accuracy": p.judged.accuracy() })
}

/// Of every model but the first, its bits per byte minus those of the first; `null` where units differ.
fn differences(evaluations: &[Evaluation]) -> Value {
    let Some((first, others)) = evaluations.split_first() else { return Value::Null };
    let of = |other: &Evaluation| -> Value {
        let languages = other.languages.iter().zip(&first.languages);
        let bits: serde_json::Map<String, Value> =
            languages.map(|(a, b)| (a.language.clone(), json!(a.difference(b).ok()))).collect();
        let pairs = other.pairs.iter().zip(&first.pairs);
        let accuracy: serde_json::Map<String, Value> =
            pairs.map(|(a, b)| (a.language.clone(), json!(a.judged.difference(&b.judged)))).collect();
        json!({ "model": other.model, "minus": first.model, "bits_per_byte": bits, "accuracy": accuracy })
    };
    others.iter().map(of).collect()
}
