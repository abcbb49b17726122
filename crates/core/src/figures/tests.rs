use super::*;
use proptest::prelude::*;

fn figures() -> Figures {
    let figure = |name: &str, quantity, value| Figure { name: name.into(), quantity, value };
    Figures {
        figures: vec![
            figure("requests", Quantity::Count, 12_345.0),
            figure("failures", Quantity::Count, 3.0),
            figure("tokens", Quantity::Count, 1_432_000.0),
            figure("p95 of total", Quantity::Seconds, 8.246),
            figure("window", Quantity::Seconds, 86_400.0),
            figure("change", Quantity::Ratio, -0.1249),
            figure("cost", Quantity::Usd, 0.4251),
            figure("memory", Quantity::Bytes, 60_123_456_789.0),
            figure("decode", Quantity::PerSecond, 41.27),
        ],
        names: vec!["GLM-4.5-Air".into(), "gemini-2.5-flash".into(), "2026-11-23".into()],
    }
}

fn unknown(text: &str) -> Vec<String> {
    figures().unknown_numbers(text).into_iter().map(|unknown| unknown.written).collect()
}

#[test]
fn figures_are_known_however_they_are_written() {
    for text in [
        "12345 requests, 12,345 requests, 12'345 requests, 12.345k requests, 12.3 thousand requests, 12k requests",
        "twelve thousand requests, twelve thousand three hundred and forty-five requests, _3_ failures, the 3rd of 3",
        "3 failures, three failures, Three of them failed, 1.4 million tokens, 1.432M tokens, 1,432,000 tokens",
        "8.246 s, 8.2 seconds, 8 s, 8246 ms, 8,246 milliseconds, 8.2s at the 95th percentile, p95 8.25 s",
        "the last 24 hours, 1 day, 24 h, 1440 mins, a 24-hour window, **24** hours, 24\u{2011}hour, 24\u{202f}h, 24\nhrs",
        "8,246,000 μs, 8 to 8.25 s, between 12 and 12.5 %",
        "fell by 12.49 %, 12.5%, -12 percent, 12 per cent, -0.12",
        "it cost $0.43, 0.4251 USD, 43 cents, 42.51 cents, $ 0.4, USD0.43",
        "60.1 GB of memory, 60,123 MB, 56 GiB",
        "41.3 tokens/s, 41 tok/s, 41.27 tokens per second, 41 per second",
        "glm-4.5-air and gemini-2.5-flash. On 2026-11-23 (v2, p99, x86_64)",
        "1. First\n2) Second\n  3. Third\n## 4. Fourth\n**5.",
        "One of them; nobody; no numbers at all.",
        "",
    ] {
        assert_eq!(unknown(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn other_numbers_are_told() {
    for (text, expected) in [
        ("12,346 requests", "12,346"),
        ("12.4k requests", "12.4k"),
        ("four failures", "four"),
        ("twenty-five failures", "twenty-five"),
        ("seventeen failures", "seventeen"),
        ("a hundred failures", "a hundred"),
        ("one hundred and three failures", "one hundred and three"),
        ("three hundred thousand tokens", "three hundred thousand"),
        ("_9_ failures", "9"),
        ("９ failures", "９"),
        ("USD12", "USD12"),
        ("3e5 tokens", "3e5"),
        ("3bn tokens", "3bn"),
        ("3 trillion tokens", "3 trillion"),
        ("4th", "4"),
        ("8 failures", "8"),
        ("8246 failures", "8246"),
        ("zero failures", "zero"),
        ("gemini-2.5-flash2", "2.5"),
        ("9000. Failures", "9000"),
        ("8.3 s", "8.3 s"),
        // A number that is right of something else.
        ("3 seconds", "3 seconds"),
        ("12,345 ms", "12,345 ms"),
        ("8.246 %", "8.246 %"),
        ("12.4 %", "12.4 %"),
        ("$0.44", "$0.44"),
        ("61 GB", "61 GB"),
        ("42 tokens/s", "42 tokens/s"),
        ("GLM-4.6-Air", "4.6"),
        ("2026-11-24", "2026"),
        ("the 96th percentile", "96"),
        ("About 12,000 requests", "12,000"),
        ("7 days", "7 days"),
        ("7. Is no list", "7"),
    ] {
        let text =
            if text.starts_with('7') && text.ends_with("list") { format!("See {text}") } else { text.into() };
        let unknown = unknown(&text);
        assert!(unknown.first().is_some_and(|first| first == expected), "{text}: {unknown:?}");
    }
    let at = figures().unknown_numbers("No: 77 s.").remove(0);
    assert_eq!(at, UnknownNumber { range: 4..8, written: "77 s".into() });
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(
        text in "([0-9]{1,4}|[.,'_ $%\n*-]|µs|\u{a0}|\u{2011}|½|é|one|two|hundred|and|a|thousand|s|kib|th|GLM-4.5-Air){0,40}",
    ) {
        let unknown = figures().unknown_numbers(&text);
        prop_assert!(unknown.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start), "{unknown:?}");
        for unknown in unknown {
            prop_assert_eq!(&text[unknown.range.clone()], unknown.written);
        }
    }

    #[test]
    fn a_figure_is_known_to_every_digit_and_its_neighbour_is_not(value in 0.0..1e6f64, digits in 0usize..4) {
        let figures = Figures {
            figures: vec![Figure { name: "it".into(), quantity: Quantity::Seconds, value }],
            names: Vec::new(),
        };
        let shown = format!("It took {value:.digits$} s.");
        prop_assert_eq!(figures.unknown_numbers(&shown), vec![]);
        let next = value + 1.2 * 10f64.powi(-(digits as i32));
        let other = format!("It took {next:.digits$} s.");
        prop_assert_eq!(figures.unknown_numbers(&other).len(), 1, "{}", other);
    }
}
