//! A row for each measurement, for other programs.

use super::results::Results;
use super::scores::{Goal, Scores, gap_closed};
use crate::reproduce::all_languages;

/// As comma-separated values. No value needs quotes: names are our own, and settings are put together with semicolons.
pub(super) fn csv(results: &Results) -> String {
    let mut text =
        "seed,setup,merge,reads,goal,settings,tries,text,bits_per_byte,error_over_sentences,gap_closed,\
                    making_seconds,choosing_seconds\n"
            .to_owned();
    let mut push = |start: &str, scores: &Scores, end: &str| {
        for language in all_languages() {
            let Some(estimate) = scores.0.get(language) else { continue };
            let error = estimate.error.map_or(String::new(), |e| format!("{e:.6}"));
            text += &format!("{start},{language},{:.6},{error},{end}\n", estimate.value);
        }
    };
    for (arm, cells) in &results.cells {
        let best = results.best_classical(*arm);
        for cell in cells {
            let start = |name: &str| format!("{},{},{name},,,,", cell.seed, arm.name());
            push(&start("English model"), &cell.english, ",,");
            push(&start("own models"), &cell.own, ",,");
            push(&start("joint training"), &cell.joint, &format!(",{:.1},", cell.joint_seconds));
            let classical = best.and_then(|b| cell.outcomes.get(&(b, Goal::Five))).map(|o| o.scores.five());
            for contender in &results.contenders {
                for goal in Goal::ALL {
                    let Some(outcome) = cell.outcomes.get(&(contender.name, goal)) else { continue };
                    let start = format!(
                        "{},{},{},{},{},{},{}",
                        cell.seed,
                        arm.name(),
                        contender.name,
                        contender.reads.name().replace(", ", "+"),
                        goal.name(),
                        outcome.point.to_string().replace(", ", "; "),
                        outcome.tries,
                    );
                    let gap = classical.map(|c| gap_closed(c, outcome.scores.five(), cell.joint.five()));
                    let gap = gap.map_or(String::new(), |g| format!("{g:.4}"));
                    let end = format!("{gap},{:.1},{:.1}", outcome.making, outcome.choosing);
                    push(&start, &outcome.scores, &end);
                }
            }
        }
    }
    text
}
