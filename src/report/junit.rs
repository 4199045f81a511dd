//! JUnit XML, as CI systems read it: a test case for each language.

use crate::eval::{Verdict, Why};

/// The verdicts as a test suite called `name`.
pub fn junit(name: &str, verdicts: &[Verdict]) -> String {
    let failures = verdicts.iter().filter(|v| v.why == Why::Worse).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\">\n",
        escape(name),
        verdicts.len(),
    );
    for v in verdicts {
        let case = format!("  <testcase classname=\"{}\" name=\"{}\"", escape(name), escape(&v.language));
        let numbers = format!("{:.4} bits/byte, {:.4} before: {}", v.now, v.before, v.explain());
        text += &match v.why {
            Why::Worse => {
                format!("{case}>\n    <failure message=\"{}\"/>\n  </testcase>\n", escape(&numbers))
            }
            _ => format!("{case}>\n    <system-out>{}</system-out>\n  </testcase>\n", escape(&numbers)),
        };
    }
    text + "</testsuite>\n"
}

/// For text and attributes of XML and HTML; characters that XML does not allow become spaces.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
