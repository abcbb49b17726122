//! How an answer came about, as a small table.

use crate::clean::for_one_line;
use crate::human;
use crate::style::Style;
use crate::table::{Paint, Table};
use boca_api::{SourceTrace, Trace};

/// Values from outside are cut to this.
const MAX_VALUE_CHARS: usize = 200;

/// Who was asked, began, first token, end, tokens, cost, outcome; then agreement, strategy and why.
pub(crate) fn table(trace: &Trace, style: Style) -> String {
    let columns = ["asked", "as", "model", "began", "first token", "end", "tokens", "cost", "outcome"];
    let mut table = Table::new(&columns, style);
    for source in &trace.sources {
        table.row(vec![
            (value(&source.provider), Paint::Name),
            (role(&source.role), Paint::Plain),
            (source.model.as_deref().map(value).unwrap_or_else(|| "?".to_owned()), Paint::Plain),
            (millis(Some(source.began_ms)), Paint::Plain),
            (millis(source.first_token_ms), Paint::Plain),
            (millis(source.ended_ms), Paint::Plain),
            (tokens(source), Paint::Plain),
            (money(source.cost_usd), Paint::Plain),
            (outcome(source), Paint::Plain),
        ]);
    }
    let mut text = table.text();
    let mut line = |name: &str, what: String| {
        text.push_str(&format!("{} {what}\n", style.dim(&format!("{name:<9}"))));
    };
    line("mode", value(if trace.mode.is_empty() { "?" } else { &trace.mode }));
    if let Some(strategy) = &trace.strategy {
        line("strategy", value(strategy));
    }
    if let Some(agreement) = trace.agreement {
        line("agreement", format!("{agreement:.2}"));
    }
    if let Some(chosen) = &trace.chosen {
        line("chosen", value(chosen));
    }
    if let Some(judge) = &trace.judged_by {
        line("judged by", value(judge));
    }
    if let Some(seam) = &trace.seam {
        let (from, to) = (value(&seam.from), value(&seam.to));
        line("seam", format!("{to} went on after {} of {from}", human::plural(seam.at_byte, "byte")));
    }
    if let Some(cost) = trace.cost_usd {
        line("cost", money(Some(cost)));
    }
    if trace.private {
        line("private", "yes: nobody outside this machine saw it".to_owned());
    }
    for (at, reason) in trace.reasons.iter().enumerate() {
        line(if at == 0 { "why" } else { "" }, value(reason));
    }
    text
}

/// `1.23 s`, `87 ms`, `-` for a time that never was.
pub(crate) fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.2} s", ms / 1000.0),
    }
}

/// `$0.00123`; `-` where prices are unknown.
pub(crate) fn money(usd: Option<f64>) -> String {
    match usd {
        None => "-".to_owned(),
        Some(usd) if usd >= 1.0 || usd == 0.0 => format!("${usd:.2}"),
        Some(usd) => format!("${usd:.5}"),
    }
}

fn role(role: &str) -> String {
    match role {
        "" => "answer".to_owned(),
        other => value(other),
    }
}

fn tokens(source: &SourceTrace) -> String {
    format!("{} + {}", source.usage.prompt_tokens, source.usage.completion_tokens)
}

fn outcome(source: &SourceTrace) -> String {
    match &source.error {
        Some(error) => format!("{}: {}", value(&source.state), value(&error.message)),
        None => value(&source.state),
    }
}

fn value(text: &str) -> String {
    for_one_line(text, MAX_VALUE_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_api::{ErrorDetail, Seam, Usage};

    #[test]
    fn a_collaborative_answer() {
        let finished = SourceTrace {
            provider: "gemini".into(),
            model: Some("gemini-3.8-flash".into()),
            role: "answer".into(),
            state: "failed".into(),
            began_ms: 0.4,
            first_token_ms: Some(312.0),
            ended_ms: Some(1934.5),
            usage: Usage { prompt_tokens: 12, completion_tokens: 80, ..Usage::default() },
            cost_usd: Some(0.000309),
            error: Some(ErrorDetail {
                message: "`gemini` broke\noff\u{1b}[2J".into(),
                kind: "server_error".into(),
                param: None,
                code: "provider_failed".into(),
            }),
            context_cut: None,
        };
        let local =
            SourceTrace { provider: "local".into(), state: "finished".into(), ..SourceTrace::default() };
        let trace = Trace {
            sources: vec![finished, local],
            mode: "collaborative".into(),
            strategy: Some("select".into()),
            chosen: Some("gemini".into()),
            judged_by: Some("local".into()),
            agreement: Some(0.8125),
            reasons: vec!["the answers agree, so nobody judges".into(), "gemini is preferred".into()],
            seam: Some(Seam { at_byte: 120, from: "gemini".into(), to: "local".into() }),
            cost_usd: Some(1.5),
            private: true,
        };
        insta::assert_snapshot!(table(&trace, Style::PLAIN));
    }

    #[test]
    fn figures_have_units() {
        assert_eq!(millis(Some(87.4)), "87 ms");
        assert_eq!(millis(Some(1234.0)), "1.23 s");
        assert_eq!(money(Some(0.00123)), "$0.00123");
        assert_eq!(money(Some(12.0)), "$12.00");
        assert_eq!(money(None), "-");
    }
}
