//! The one table of routes, used by the server to register them and by the client to call them.

/// One route of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// The path; `{id}` stands for one segment.
    pub path: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
}

/// Path of [`crate::chat`].
pub const CHAT: &str = "/api/chat";
/// Path of the list of [`crate::sessions`].
pub const SESSIONS: &str = "/api/sessions";
/// Path of one session.
pub const SESSION: &str = "/api/sessions/{id}";
/// Path of the list of running [`crate::requests`].
pub const REQUESTS: &str = "/api/requests";
/// Path of one running request.
pub const REQUEST: &str = "/api/requests/{id}";
/// Path of the list of batches, and of new ones; see [`crate::batch`].
pub const BATCHES: &str = "/api/batch";
/// Path of one batch.
pub const BATCH: &str = "/api/batch/{id}";
/// Path of the results of one batch.
pub const BATCH_RESULTS: &str = "/api/batch/{id}/results";
/// Path of [`crate::feedback`].
pub const FEEDBACK: &str = "/api/feedback";
/// Path of [`crate::compare`].
pub const COMPARE_STATS: &str = "/api/compare/stats";
/// Path of [`crate::status`].
pub const STATUS: &str = "/api/status";
/// Path that brings the weights of the [`crate::model`] into memory.
pub const MODEL_LOAD: &str = "/api/model/load";
/// Path that lets them go.
pub const MODEL_UNLOAD: &str = "/api/model/unload";
/// Path of [`crate::metrics`].
pub const METRICS: &str = "/api/metrics";
/// Path that answers as long as the daemon lives.
pub const HEALTH: &str = "/health";
/// Path that answers 200 when a question can be answered now.
pub const READY: &str = "/ready";

/// Every route.
pub const ROUTES: &[Route] = &[
    Route { method: "POST", path: CHAT, summary: "ask a question, answered whole or as a stream of events" },
    Route { method: "GET", path: SESSIONS, summary: "list stored conversations, newest first" },
    Route { method: "POST", path: SESSIONS, summary: "create a conversation with its settings" },
    Route { method: "GET", path: SESSION, summary: "one conversation with its messages" },
    Route { method: "PATCH", path: SESSION, summary: "change the settings of a conversation" },
    Route { method: "DELETE", path: SESSION, summary: "delete a conversation" },
    Route { method: "GET", path: REQUESTS, summary: "list requests that are queued or running" },
    Route { method: "DELETE", path: REQUEST, summary: "cancel a request" },
    Route { method: "GET", path: BATCHES, summary: "list the batches that are kept" },
    Route { method: "POST", path: BATCHES, summary: "take on many questions, answered when nobody waits" },
    Route { method: "GET", path: BATCH, summary: "how far a batch is" },
    Route { method: "DELETE", path: BATCH, summary: "cancel what is left of a batch" },
    Route { method: "GET", path: BATCH_RESULTS, summary: "the results of a batch, one a line" },
    Route { method: "POST", path: FEEDBACK, summary: "say whether an answer was good" },
    Route { method: "GET", path: COMPARE_STATS, summary: "the running record of the providers" },
    Route {
        method: "GET",
        path: STATUS,
        summary: "the daemon, its model, its providers, its actors and its store",
    },
    Route { method: "POST", path: MODEL_LOAD, summary: "bring the model's weights into memory" },
    Route { method: "POST", path: MODEL_UNLOAD, summary: "let the model's weights go once nothing runs" },
    Route { method: "GET", path: METRICS, summary: "counters and percentiles" },
    Route { method: "GET", path: HEALTH, summary: "whether the daemon is alive" },
    Route { method: "GET", path: READY, summary: "whether a question can be answered now" },
];

/// Header that names a request, in every answer.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// The path of one session. The id is escaped, so that no text can reach another route.
pub fn session(id: &str) -> String {
    format!("{SESSIONS}/{}", escape_segment(id))
}

/// The path of one running request.
pub fn request(id: &str) -> String {
    format!("{REQUESTS}/{}", escape_segment(id))
}

/// The path of one batch.
pub fn batch(id: &str) -> String {
    format!("{BATCHES}/{}", escape_segment(id))
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn escape_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // A dot is unreserved too, but a segment of `.` or `..` would be resolved away on the way.
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_segment() {
        assert_eq!(session("a-b_1"), "/api/sessions/a-b_1");
        assert_eq!(session("../status?x#y z"), "/api/sessions/%2E%2E%2Fstatus%3Fx%23y%20z");
        assert_eq!(request("é"), "/api/requests/%C3%A9");
    }

    #[test]
    fn no_route_twice() {
        let mut seen = std::collections::HashSet::new();
        for route in ROUTES {
            assert!(seen.insert((route.method, route.path)), "{route:?}");
        }
    }
}
