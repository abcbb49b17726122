//! The server: its routes, its limits, its end.

use super::context::RequestContext;
use super::error::ApiError;
use super::listener::BoundSocket;
use super::{
    batch, chat, compare, feedback, guard, health, metrics, model, peer, requests, sessions, status,
};
use crate::batch::BatchService;
use crate::chat::ChatService;
use crate::config::{SharedSettings, TriedModel};
use crate::http::body::BodyLimits;
use crate::signals::Shutdown;
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpServer, Resource};
use boca_actors::Actors;
use boca_api::routes;
use boca_core::{ErrorCode, Failure};
use boca_store::{OpenReport, Store};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Threads that read requests and write answers. Everything heavy is done elsewhere.
const WORKERS: usize = 2;
/// How long a connection may be idle between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long open connections may take to end when the daemon stops; all answers are complete by then.
const STOP_TIMEOUT_S: u64 = 3;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) chat: ChatService,
    pub(crate) batches: BatchService,
    pub(crate) actors: Actors,
    pub(crate) store: Store,
    /// What happened when the store was opened.
    pub(crate) store_report: OpenReport,
    pub(crate) settings: SharedSettings,
    /// Where a model was looked for.
    pub(crate) tried: Vec<TriedModel>,
    pub(crate) socket: PathBuf,
    pub(crate) started: Instant,
    pub(crate) shutdown: Shutdown,
    /// The user that the daemon runs as.
    pub(crate) own_uid: u32,
    /// One permit for each request that may be served at the same time.
    pub(crate) places: Arc<Semaphore>,
}

impl Parts {
    pub(super) fn body_limits(&self) -> BodyLimits {
        let daemon = &self.settings.current().daemon;
        BodyLimits { max_bytes: daemon.max_body_bytes, timeout: daemon.body_timeout }
    }
}

/// The running server.
#[derive(Debug, Clone)]
pub(crate) struct HttpServerHandle(ServerHandle);

impl HttpServerHandle {
    /// Takes no more connections and waits for those that are open, for a moment.
    pub(crate) async fn stop(&self) {
        self.0.stop(true).await;
    }
}

/// Starts to answer on a socket. The future ends when the server does, which is an error unless it was stopped.
///
/// # Errors
/// When the socket cannot be served.
pub(crate) fn start(
    socket: &BoundSocket,
    parts: Parts,
) -> io::Result<(HttpServerHandle, impl Future<Output = io::Result<()>> + use<>)> {
    let settings = parts.settings.current();
    let data = Data::new(parts);
    let app = move || App::new().app_data(data.clone()).wrap(from_fn(guard::guard)).configure(routes);
    let server = HttpServer::new(app)
        .workers(WORKERS)
        // The bound is one for all workers in the configuration, and one for each here.
        .max_connections(settings.daemon.max_connections.div_ceil(WORKERS))
        .client_request_timeout(settings.daemon.header_timeout)
        .keep_alive(KEEP_ALIVE)
        // A client that closes its side has gone away: what it asked for is cancelled.
        .h1_allow_half_closed(false)
        .shutdown_timeout(STOP_TIMEOUT_S)
        .disable_signals()
        .on_connect(peer::note)
        .listen_uds(socket.listener()?)?
        .run();
    Ok((HttpServerHandle(server.handle()), server))
}

/// A route that panics.
#[cfg(test)]
pub(super) const PANIC_ROUTE: &str = "/test/panic";

/// Every route of the contract.
fn routes(config: &mut ServiceConfig) {
    #[cfg(test)]
    config.route(PANIC_ROUTE, web::get().to(|| async { panic!("as a test wants") as &str }));
    config
        .service(resource(routes::CHAT).route(web::post().to(chat::ask)))
        .service(
            resource(routes::SESSIONS)
                .route(web::get().to(sessions::list))
                .route(web::post().to(sessions::create)),
        )
        .service(
            resource(routes::SESSION)
                .route(web::get().to(sessions::show))
                .route(web::patch().to(sessions::update))
                .route(web::delete().to(sessions::delete)),
        )
        .service(resource(routes::REQUESTS).route(web::get().to(requests::list)))
        .service(resource(routes::REQUEST).route(web::delete().to(requests::cancel)))
        .service(
            resource(routes::BATCHES).route(web::get().to(batch::list)).route(web::post().to(batch::create)),
        )
        .service(
            resource(routes::BATCH).route(web::get().to(batch::show)).route(web::delete().to(batch::cancel)),
        )
        .service(resource(routes::BATCH_RESULTS).route(web::get().to(batch::results)))
        .service(resource(routes::FEEDBACK).route(web::post().to(feedback::judge)))
        .service(resource(routes::COMPARE_STATS).route(web::get().to(compare::stats)))
        .service(resource(routes::STATUS).route(web::get().to(status::show)))
        .service(resource(routes::MODEL_LOAD).route(web::post().to(model::load)))
        .service(resource(routes::MODEL_UNLOAD).route(web::post().to(model::unload)))
        .service(resource(routes::METRICS).route(web::get().to(metrics::show)))
        .service(resource(routes::HEALTH).route(web::get().to(health::alive)))
        .service(resource(routes::READY).route(web::get().to(health::ready)))
        .default_service(web::to(no_such_route));
}

/// A path of the contract, which refuses methods that it does not know.
fn resource(path: &'static str) -> Resource {
    web::resource(path).default_service(web::to(
        move |request: HttpRequest, context: RequestContext| async move {
            let allow = methods(path);
            let method = request.method().as_str();
            Err::<String, _>(ApiError::method_not_allowed(method, request.path(), allow, &context))
        },
    ))
}

/// The methods of a path, as the header `allow` names them.
fn methods(path: &str) -> &'static str {
    let of_path = routes::ROUTES.iter().filter(|route| route.path == path).map(|route| route.method);
    match of_path.collect::<Vec<_>>().as_slice() {
        ["GET"] => "GET",
        ["POST"] => "POST",
        ["DELETE"] => "DELETE",
        ["GET", "POST"] => "GET, POST",
        ["GET", "DELETE"] => "GET, DELETE",
        _ => "GET, PATCH, DELETE",
    }
}

async fn no_such_route(request: HttpRequest, context: RequestContext) -> Result<String, ApiError> {
    let path: String = request.path().chars().take(200).collect();
    Err(context.fail(Failure::new(ErrorCode::NotFound, format!("there is no route `{path}`"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_every_path_are_named() {
        for route in routes::ROUTES {
            let named: Vec<&str> = methods(route.path).split(", ").collect();
            let mut expected: Vec<&str> =
                routes::ROUTES.iter().filter(|r| r.path == route.path).map(|r| r.method).collect();
            let mut sorted = named.clone();
            sorted.sort_unstable();
            expected.sort_unstable();
            assert_eq!(sorted, expected, "{}", route.path);
        }
    }
}
