//! The written tokenizer read back: it must give every token its planned id, and encode texts as planned.

use std::collections::BTreeSet;

use super::output::Output;
use super::tokenizer::Tokenizer;
use crate::problem::{Problem, Problems};

/// A few sentences in each of several languages and scripts, and what is no language.
const SAMPLE: &[(&str, &[&str])] = &[
    (
        "en",
        &["The river was frozen, so we walked home across it.", "I can't say whether she'll come at 7:30."],
    ),
    ("de", &["Über den Wiesen lag früh am Morgen dichter Nebel.", "Möchtest du noch ein Stück Kuchen?"]),
    ("fr", &["L'été dernier, nous avons traversé la forêt à vélo.", "Qu'est-ce que ça veut dire ?"]),
    ("es", &["¿Dónde dejaste las llaves del coche, señor?", "Mañana lloverá en todo el país."]),
    ("pt", &["Não sei se a reunião começa às três ou às quatro."]),
    ("it", &["Perché la finestra è aperta? Fa già freddo."]),
    ("nl", &["Het was al donker toen ze eindelijk thuiskwamen."]),
    ("sv", &["Båten låg kvar vid bryggan hela hösten.", "Hur mår du i dag, älskling?"]),
    ("da", &["Vi mødtes på gågaden, lige før butikkerne lukkede."]),
    ("nb", &["Øya ligger så langt ute at ingen bor der lenger."]),
    ("is", &["Það rignir sjaldan á þessum tíma árs.", "Hvað ætlarðu að gera um helgina?"]),
    ("fo", &["Báturin kom inn á vágna, tá ið vindurin hevði lagt seg.", "Hvussu eitur tú?"]),
    ("fi", &["Järven yli kuului lintujen laulua koko yön."]),
    ("et", &["Öösel sadas lund ja hommikul oli kõik valge.", "Kas sa tuled täna õhtul külla?"]),
    ("lv", &["Rīta saule spīdēja pāri laukiem."]),
    ("pl", &["Żółta łódź płynęła powoli w dół rzeki."]),
    ("cs", &["Příští týden pojedeme vlakem k babičce."]),
    ("hu", &["A könyv a régi szekrény mögé esett."]),
    ("tr", &["Çocuklar bahçede, ağacın altında oynuyorlardı."]),
    ("ru", &["Зимой дни короткие, а ночи длинные.", "Где ты был вчера вечером?"]),
    ("uk", &["Їжак швидко сховався під листям."]),
    ("el", &["Το καράβι έφυγε νωρίς το πρωί από το λιμάνι."]),
    ("ar", &["وصل القطار متأخرا بسبب الأمطار الغزيرة."]),
    ("fa", &["هوا امروز خیلی سرد است و برف می‌بارد.", "کتاب را کجا گذاشتی؟"]),
    ("he", &["הילדים שיחקו בגינה עד השקיעה."]),
    ("hi", &["बारिश के बाद खेतों में हरियाली छा गई।"]),
    ("bn", &["নদীর ধারে একটি পুরনো বটগাছ আছে।"]),
    ("th", &["เมื่อวานฝนตกหนักทั้งวัน"]),
    ("vi", &["Chúng tôi đã đi bộ dọc bờ biển suốt buổi chiều."]),
    ("zh", &["昨天晚上下了一场大雪。", "你吃饭了吗?"]),
    ("ja", &["窓を開けると、海の匂いがした。", "電車は九時に出ます。"]),
    ("ko", &["아침부터 눈이 내려 길이 미끄럽다."]),
    ("sw", &["Watoto walikuwa wakicheza kando ya mto."]),
    (
        "code",
        &["fn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n", "x = [i**2 for i in range(10)]  # squares\n"],
    ),
    (
        "other",
        &["3.14159 + 2,718 = 5 858.59 €\t(≈ 10²)", "  two  spaces\n\n\nand lines\r\n", "🙂👩‍🚀 𝄞 e\u{301}"],
    ),
];

/// How a model's own tokenizer and the output's encode the sample.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct SampleReport {
    /// Texts of the sample.
    pub texts: usize,
    /// Texts that become the same tokens, under their new ids.
    pub same: usize,
    /// The languages of the others.
    pub differ: Vec<String>,
    /// Tokens that the model's own tokenizer makes of the whole sample …
    pub tokens_before: usize,
    /// … and the output's.
    pub tokens_after: usize,
    /// Tokens that are the reason, where there is one: some of them.
    pub because_of: Vec<String>,
}

/// Reasons that are named.
const NAMED: usize = 5;

/// Holds the output's tokenizer against the plan. `first` is the one that it begins with: a text that contains
/// none of the tokens that were added or changed must come out as it did.
pub(super) fn check(output: &Output, written: &Tokenizer, first: &Tokenizer, problems: &mut Problems) {
    let refuse = |what: String| {
        Problem::error("tokenizer", what)
            .hint("this tokenizer cannot be extended; use `tokenizer_source: base`")
    };
    let moved = output.tokens.iter().find(|(id, token)| written.inner.token_to_id(token) != Some(**id));
    if let Some((id, token)) = moved {
        let loads = written.inner.token_to_id(token);
        problems.push(refuse(format!("token `{token}` was to have id {id}, but loads as {loads:?}")));
        return;
    }
    for (language, text) in texts() {
        let (Some(before), Some(after)) = (encode(first, text), encode(written, text)) else {
            problems.push(refuse(format!("the {language} sample cannot be encoded: {text:?}")));
            return;
        };
        if before != after && !after.iter().any(|id| output.changed.contains(id)) {
            let what = format!(
                "{text:?} becomes other tokens, though none that was added: {after:?}, not {before:?}"
            );
            problems.push(refuse(what));
            return;
        }
    }
}

/// Compares what a model was trained on with what it will see.
pub(super) fn report(output: &Output, written: &Tokenizer, own: &Tokenizer) -> SampleReport {
    let mut report = SampleReport::default();
    let (mut differ, mut reasons) = (BTreeSet::new(), BTreeSet::new());
    for (language, text) in texts() {
        let (Some(before), Some(after)) = (encode(own, text), encode(written, text)) else { continue };
        report.texts += 1;
        report.tokens_before += before.len();
        report.tokens_after += after.len();
        let renumbered = before.iter().map(|id| output.ids.get(own.tokens.get(id)?).copied());
        if renumbered.eq(after.iter().map(|id| Some(*id))) {
            report.same += 1;
            continue;
        }
        differ.insert(*language);
        reasons.extend(after.into_iter().filter(|id| output.changed.contains(id)));
    }
    report.differ = differ.into_iter().map(str::to_owned).collect();
    report.because_of = reasons.iter().take(NAMED).map(|id| output.tokens[id].clone()).collect();
    report
}

fn texts() -> impl Iterator<Item = (&'static &'static str, &'static str)> {
    SAMPLE.iter().flat_map(|(language, texts)| texts.iter().map(move |text| (language, *text)))
}

/// The ids of a text, those around it included.
fn encode(tokenizer: &Tokenizer, text: &str) -> Option<Vec<u32>> {
    tokenizer.inner.encode_fast(text, true).ok().map(|encoding| encoding.get_ids().to_vec())
}
