//! The HTTP side: one request per socket, answered at once or upgraded to a WebSocket.

use std::convert::Infallible;
use std::future::ready;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use kith_protocol::room::ServerMessage;
use kith_protocol::{Code, limits};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::shared::Shared;

/// A socket that asked to become a WebSocket and may.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub tcp: TcpStream,
    /// Bytes that came right behind the request.
    pub early: Vec<u8>,
    /// The client, as far as proxies are trusted.
    pub addr: IpAddr,
    /// The `Host` of the request, lower case.
    pub host: String,
}

struct Asked {
    on: OnUpgrade,
    addr: IpAddr,
    host: String,
}

const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const REFUSE_TIME: Duration = Duration::from_secs(5);

/// Serves one socket until it is answered; `Some` when it became a WebSocket.
pub(crate) async fn serve(shared: Arc<Shared>, tcp: TcpStream, peer: IpAddr) -> Option<Upgraded> {
    let slot = Arc::new(Mutex::new(None::<Asked>));
    let config = Arc::clone(&shared.config);
    let service = hyper::service::service_fn({
        let slot = Arc::clone(&slot);
        move |request| ready(Ok::<_, Infallible>(answer(&shared, &slot, peer, request)))
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(tcp), service)
        .with_upgrades();
    // The header timeout ends with the headers; a body or a slow reader must end too.
    let whole = config.header_timeout + REFUSE_TIME;
    match tokio::time::timeout(whole, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            tracing::debug!(error = %e, "http connection failed");
            return None;
        }
        Err(_) => return None,
    }
    let asked = slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let upgraded = asked.on.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some(Upgraded {
        tcp: parts.io.into_inner(),
        early: parts.read_buf.to_vec(),
        addr: asked.addr,
        host: asked.host,
    })
}

type Answer = Response<Full<Bytes>>;

fn answer(
    shared: &Shared,
    slot: &Mutex<Option<Asked>>,
    peer: IpAddr,
    mut request: Request<Incoming>,
) -> Answer {
    let path = request.uri().path();
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
    }
    match path {
        "/healthz" if shared.is_draining() => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "restarting\n")
        }
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/metrics" => plain(StatusCode::OK, shared.render_metrics()),
        "/ice-servers" => ice_servers(shared, request.headers()),
        "/ws" => match check_upgrade(&request) {
            Err(refused) => *refused,
            Ok((accept, host)) => {
                let forwarded = forwarded_for(request.headers());
                let asked = Asked {
                    addr: shared.config.client_addr(peer, forwarded.as_deref()),
                    host,
                    on: hyper::upgrade::on(&mut request),
                };
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
                accept
            }
        },
        _ => plain(StatusCode::NOT_FOUND, "this is a Kith room server\n"),
    }
}

fn ice_servers(shared: &Shared, headers: &HeaderMap) -> Answer {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match token.and_then(|t| shared.ice_servers(t)) {
        Some(ice) => {
            let text = serde_json::to_string(&ice).unwrap_or_default();
            let mut answer = json(StatusCode::OK, text);
            let no_store = HeaderValue::from_static("no-store");
            answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
            answer
        }
        None => {
            let mut answer = plain(
                StatusCode::UNAUTHORIZED,
                "the token of a joined connection is needed\n",
            );
            let bearer = HeaderValue::from_static("Bearer");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
            answer
        }
    }
}

/// RFC 6455 section 4.2: the answer to a good upgrade request and its host, or the refusal.
fn check_upgrade(request: &Request<Incoming>) -> Result<(Answer, String), Box<Answer>> {
    let bad = |why: &'static str| Box::new(plain(StatusCode::BAD_REQUEST, why));
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let upgrade = has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket");
    if !upgrade || request.version() != Version::HTTP_11 {
        return Err(Box::new(plain(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket endpoint\n",
        )));
    }
    if text(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        let mut answer = plain(
            StatusCode::UPGRADE_REQUIRED,
            "WebSocket version 13 is needed\n",
        );
        let version = HeaderValue::from_static("13");
        answer
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_VERSION, version);
        return Err(Box::new(answer));
    }
    // Sixteen bytes in base64; the value itself means nothing.
    let key = text(header::SEC_WEBSOCKET_KEY).filter(|k| k.len() == 24 && k.ends_with("=="));
    let key = key.ok_or_else(|| bad("Sec-WebSocket-Key is missing or malformed\n"))?;
    let host = text(header::HOST).filter(|h| !h.is_empty() && h.len() <= 255);
    let host = host.ok_or_else(|| bad("Host is missing or malformed\n"))?;
    if !has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, limits::SUBPROTOCOL) {
        let refusal = ServerMessage::Error {
            code: Code::UnsupportedVersion,
            message: format!("this server speaks {}", limits::SUBPROTOCOL),
            about: None,
        };
        return Err(Box::new(json(StatusCode::BAD_REQUEST, refusal.to_text())));
    }
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| bad("Sec-WebSocket-Key is malformed\n"))?;
    let h = answer.headers_mut();
    h.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    h.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    h.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    h.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(limits::SUBPROTOCOL),
    );
    Ok((answer, host.to_ascii_lowercase()))
}

/// Whether a comma-separated header holds a token, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|v| v.trim().eq_ignore_ascii_case(token))
}

/// All `X-Forwarded-For` headers as one list, in order.
fn forwarded_for(headers: &HeaderMap) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .into_iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_type(status, text.into(), "text/plain; charset=utf-8")
}

fn json(status: StatusCode, text: String) -> Answer {
    with_type(status, text.into(), "application/json")
}

fn with_type(status: StatusCode, body: Bytes, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    // One request per socket. Not set for the whole server, or the upgrade's own `Connection`
    // header would be replaced.
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
