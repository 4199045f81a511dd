//! What a study cannot say, in sentences that go before everything it does say.

use super::form::t_quantile;
use super::pictures;
use super::report::Report;
use super::scale::{Scale, Study};
use super::subject::Method;
use super::texts::all_languages;

impl Report<'_> {
    /// What the study cannot say.
    pub(super) fn limits(&self) -> Vec<String> {
        let Study { model, max_epochs, growth, .. } = self.study;
        let mut limits = Vec::new();
        if self.study.scale == Scale::Smoke {
            limits.push(
                "This is the smoke run: it shows that every part works. Its models are barely trained, and its numbers \
                 mean nothing."
                    .to_owned(),
            );
        }
        limits.extend([self.seeds(), self.sentences()]);
        limits.push(format!(
            "The models have {} and {} thousand parameters in matrix products, not 180 and 572 million, and may read a \
             small text {max_epochs} times in a run; what holds here need not hold there, nor the reverse.",
            model.multiplied() / 1000,
            model.grown(*growth).multiplied() / 1000,
        ));
        limits.extend([self.differences(), self.cost(), self.lambdas()]);
        limits.push(
            "Many contrasts are shown, and intervals are not corrected for that: of twenty differences that are none, one \
             may look clear."
                .into(),
        );
        limits
    }

    fn seeds(&self) -> String {
        match self.study.seeds.len() {
            1 => "One seed: nothing is known of how much another would differ.".into(),
            n => format!(
                "± is the standard error of the mean over {n} seeds, each with its own first weights, order of texts, noise \
                 and random drops. With {n} seeds a 95 % interval is ± {:.1} of them (Student's t), and the error itself is \
                 known badly. Languages and methods within a seed share models and are no further sample.",
                t_quantile(n)
            ),
        }
    }

    fn sentences(&self) -> String {
        let amounts = all_languages().map(|l| (l, self.book.amount(l)));
        let share = |amount: &[usize; 4]| amount[0] as f64 / amount[1].max(1) as f64;
        let most = amounts.max_by(|a, b| share(&a.1).total_cmp(&share(&b.1)));
        let most = most.map_or(String::new(), |(language, [measured, of, ..])| {
            format!(", most so in {language}, where {measured} of {of} are measured")
        });
        format!(
            "Errors over sentences tell only what other sentences would change, with these models, and take sentences for \
             independent. Those that are measured are spread evenly over each text, but what stands near is alike{most}; \
             so these errors are too small."
        )
    }

    fn differences(&self) -> String {
        format!(
            "Differences from the paper: noise in grown models (there none, so that copies stay equal in exact arithmetic); \
             the last fifth of English pretraining reads the same English text again in another order (there new text); \
             {} % of English in each run on another language (there 2.3 % of what Swedish models read and 6.1 % of what \
             Faroese ones do); no code; float32 merges (there float16).",
            100.0 * self.study.replay
        )
    }

    /// What "equal cost" leaves out.
    fn cost(&self) -> String {
        let counted = self.study.flop_ratio();
        let [causal, all] = [0.5, 1.0].map(|share| self.study.flop_ratio_with_attention(share));
        let clock = self.models.seconds_ratio(self.lengths).map_or(String::new(), |ratio| {
            format!(", and by the clock of this machine, busy or not, {ratio:.2} (medians of the runs on one language)")
        });
        format!(
            "Equal cost counts a step of a large model as {counted:.2} of a small one, by parameters alone. With attention \
             it is {causal:.2} over the pairs of tokens that are needed and {all:.2} over all pairs{clock}. By a smaller \
             number the large models would have had more steps: {:.0} % more by that of all pairs.",
            100.0 * (counted / all - 1.0)
        )
    }

    /// Where the search for lambda stopped short.
    fn lambdas(&self) -> String {
        let tried: Vec<String> = self.study.merges.lambdas.iter().map(f64::to_string).collect();
        let edge = |method: Method| format!("{} {}", method.name(), self.book.edge(|_, _, m| m == method));
        let edges: Vec<String> = pictures::scaled().map(edge).collect();
        format!(
            "Lambda was chosen among {}. The first or the last of them was chosen so often: {}. What lies beyond was not \
             tried, so nothing that such a choice enters is called clear.",
            tried.join(", "),
            edges.join(", ")
        )
    }
}
