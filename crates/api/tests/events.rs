//! What the daemon writes into a stream is what a client reads out of it.

use boca_api::sse::{KEEP_ALIVE, Restart, Started, TextDelta};
use boca_api::{ErrorBody, ErrorDetail, StreamEvent};
use boca_sse::{Decoder, Piece};
use proptest::prelude::*;

fn any_event() -> impl Strategy<Value = StreamEvent> {
    let text = prop_oneof!["[ -~]{0,20}", "\\PC{0,10}", "[\r\n\0\u{2028}\u{85}:é🦀 ]{0,8}"];
    prop_oneof![
        text.clone().prop_map(|text| StreamEvent::Token(TextDelta { text })),
        text.clone().prop_map(|text| StreamEvent::Reasoning(TextDelta { text })),
        text.clone()
            .prop_map(|text| StreamEvent::Started(Started { request_id: text.clone(), session_id: text })),
        text.clone().prop_map(|reason| StreamEvent::Restart(Restart { reason })),
        text.prop_map(|message| StreamEvent::Error(ErrorBody {
            error: ErrorDetail { message, kind: String::new(), param: None, code: String::new() },
            response_time_ms: 1.0,
        })),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_wherever_it_is_cut(
        events in prop::collection::vec(any_event(), 0..8),
        piece_bytes in 1_usize..40,
        carriage_returns in any::<bool>(),
        keep_alives in any::<bool>(),
    ) {
        let mut stream = String::new();
        for event in &events {
            if keep_alives {
                stream.push_str(KEEP_ALIVE);
            }
            stream.push_str(&event.encode().unwrap());
        }
        if carriage_returns {
            stream = stream.replace('\n', "\r\n");
        }
        let mut decoder = Decoder::new(10_000);
        for piece in stream.as_bytes().chunks(piece_bytes) {
            decoder.push(piece).unwrap();
        }
        let decoded: Vec<_> = std::iter::from_fn(|| decoder.pop())
            .map(|piece| match piece {
                Piece::Event(event) => StreamEvent::decode(&event.name, &event.data).unwrap().unwrap(),
                Piece::Stray(line) => panic!("{line:?} is no part of an event"),
            })
            .collect();
        prop_assert_eq!(decoded, events);
    }

}
