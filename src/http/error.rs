//! The one table from [`ErrorCode`] to HTTP, and the one shape of an error answer.

use super::context::RequestContext;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use boca_api::routes::REQUEST_ID_HEADER;
use boca_api::{ErrorBody, ErrorDetail, millis};
use boca_core::{ErrorCode, Failure};
use std::fmt;
use std::time::Duration;

/// When a failure that passes does not say when: soon.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// nginx's number for a request whose client went away; no standard one says so.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The HTTP status of a failure.
pub(super) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::ContextLengthExceeded => StatusCode::BAD_REQUEST,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Cancelled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::CONFLICT),
        ErrorCode::ModelLoading
        | ErrorCode::ModelUnavailable
        | ErrorCode::Restarting
        | ErrorCode::ShuttingDown
        | ErrorCode::ProviderUnavailable
        | ErrorCode::NoProviderAnswered => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::ProviderFailed | ErrorCode::ProviderRefused => StatusCode::BAD_GATEWAY,
        ErrorCode::ContentBlocked => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::EngineFailed | ErrorCode::StoreFailed | ErrorCode::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// The family in OpenAI's words, by which clients of that API choose an exception.
pub(super) fn family(code: ErrorCode) -> &'static str {
    match status(code) {
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    }
}

/// When to come back, in whole seconds; `None` when waiting does not help.
pub(super) fn retry_after_s(failure: &Failure) -> Option<u64> {
    let helps = match failure.code {
        ErrorCode::Overloaded | ErrorCode::ModelLoading | ErrorCode::Restarting | ErrorCode::ShuttingDown => {
            true
        }
        // A provider that is not asked now may be so for a moment or until a person acts.
        ErrorCode::ProviderUnavailable | ErrorCode::NoProviderAnswered => failure.retry_after.is_some(),
        _ => false,
    };
    let wait = failure.retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
    helps.then(|| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).map(|seconds| seconds.max(1))
}

/// A failure as it stands in an error body.
pub(crate) fn detail(failure: &Failure) -> ErrorDetail {
    ErrorDetail {
        message: failure.message.clone(),
        kind: family(failure.code).to_owned(),
        param: failure.param.clone(),
        code: failure.code.as_str().to_owned(),
    }
}

/// A failed request, ready to be answered.
#[derive(Debug)]
pub(super) struct ApiError {
    failure: Failure,
    context: RequestContext,
    /// The methods that exist, for a wrong one.
    allow: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(failure: impl Into<Failure>, context: &RequestContext) -> Self {
        Self { failure: failure.into(), context: context.clone(), allow: None }
    }

    /// A method that the route does not know.
    pub(super) fn method_not_allowed(
        method: &str,
        path: &str,
        allow: &'static str,
        context: &RequestContext,
    ) -> Self {
        let message = format!("`{path}` takes {allow}, got {method}");
        Self { allow: Some(allow), ..Self::new(Failure::new(ErrorCode::MethodNotAllowed, message), context) }
    }

    /// The error body of now.
    pub(super) fn body(&self) -> ErrorBody {
        ErrorBody { error: detail(&self.failure), response_time_ms: millis(self.context.arrived().elapsed()) }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        status(self.failure.code)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((REQUEST_ID_HEADER, self.context.id().as_str()));
        if let Some(seconds) = retry_after_s(&self.failure) {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if let Some(methods) = self.allow {
            response.insert_header((ALLOW, methods));
        }
        response.json(self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete_and_agrees_with_the_contract() {
        let known: Vec<&str> = boca_api::error::CODES.iter().map(|(code, _)| *code).collect();
        let ours: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(known, ours);
        for code in ErrorCode::ALL {
            let status = status(code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
            let retry = retry_after_s(&Failure::new(code, "x"));
            assert!(retry.is_none() || matches!(status.as_u16(), 429 | 503), "{code}");
        }
    }

    #[test]
    fn families_are_those_of_openai() {
        for (code, expected) in [
            (ErrorCode::InvalidRequest, (400, "invalid_request_error")),
            (ErrorCode::ContextLengthExceeded, (400, "invalid_request_error")),
            (ErrorCode::Forbidden, (403, "permission_error")),
            (ErrorCode::NotFound, (404, "invalid_request_error")),
            (ErrorCode::PayloadTooLarge, (413, "invalid_request_error")),
            (ErrorCode::Overloaded, (429, "rate_limit_error")),
            (ErrorCode::Cancelled, (499, "invalid_request_error")),
            (ErrorCode::ModelLoading, (503, "server_error")),
            (ErrorCode::DeadlineExceeded, (504, "server_error")),
            (ErrorCode::Internal, (500, "server_error")),
        ] {
            assert_eq!((status(code).as_u16(), family(code)), expected, "{code}");
        }
    }

    #[test]
    fn waiting_is_advised_in_whole_seconds_where_it_helps() {
        let overloaded =
            |wait: u64| Failure::new(ErrorCode::Overloaded, "x").retry_after(Duration::from_millis(wait));
        assert_eq!(retry_after_s(&overloaded(2500)), Some(3));
        assert_eq!(retry_after_s(&overloaded(0)), Some(1));
        assert_eq!(retry_after_s(&Failure::new(ErrorCode::ModelLoading, "x")), Some(1));
        assert_eq!(retry_after_s(&Failure::new(ErrorCode::ModelUnavailable, "x")), None);
    }
}
