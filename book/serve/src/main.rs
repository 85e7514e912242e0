//! The book while it is being written: shown on this machine alone, built again whenever
//! its prose, code, snapshots or drawings change. How a book is built is not known here; a
//! command does it, and its exit code says whether the book is a good one.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{
        Request,
        ws::{WebSocket, WebSocketUpgrade},
    },
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::any,
};
use clap::Parser;
use notify::{Event, EventKind, RecursiveMode, Watcher};
use tokio::sync::broadcast;
use tower_http::{
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
};

/// How long the files have to be quiet: an editor may write several at once.
const QUIET: Duration = Duration::from_millis(150);

/// Shows a book that is being written, and builds it again whenever something changes.
#[derive(Parser)]
struct Arguments {
    /// The folder that holds book.toml
    #[arg(long)]
    root: PathBuf,

    /// The folder that the command fills with pages, relative to the root
    #[arg(long)]
    pages: PathBuf,

    /// Where a page listens for the news that the book has changed
    #[arg(long)]
    news: String,

    /// Open the book in the browser
    #[arg(long)]
    open: bool,

    /// Where to listen on 127.0.0.1; 0 takes any port that is free
    #[arg(long, default_value_t = 3000)]
    port: u16,

    /// The command that builds the book
    #[arg(last = true, required = true)]
    build: Vec<OsString>,
}

fn main() -> ExitCode {
    match serve(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the book until it is interrupted.
///
/// # Errors
/// When the port is taken, or the files cannot be watched.
fn serve(arguments: Arguments) -> Result<()> {
    let Arguments { root, pages, news, open, port, build } = arguments;
    let root = root.canonicalize().context("cannot find the book")?;
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            format!(
                "port {port} is taken or not allowed; try --port {}",
                port.wrapping_add(1)
            )
        })?;
    listener.set_nonblocking(true)?;
    let address = format!("http://{}/", listener.local_addr()?);

    // The watch begins before the first build, so that no change falls in between.
    let (event_sender, events) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(event_sender)?;
    watcher.watch(&root, RecursiveMode::NonRecursive)?;
    for folder in ["book", "chapters", "images"].map(|folder| root.join(folder)) {
        if folder.is_dir() {
            watcher.watch(&folder, RecursiveMode::Recursive)?;
        }
    }

    rebuild(&build);
    println!("reading at {address}");
    if open {
        open_browser(&address);
    }

    let (reloads, _) = broadcast::channel(1);
    let app = app(&root.join(pages), &news, &reloads);
    thread::spawn(move || keep_built(&root, &build, &events, &reloads));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(
        async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            Ok(axum::serve(listener, app).await?)
        },
    )
}

/// Builds the book after each change, and tells the pages if it is a good one.
fn keep_built(
    root: &Path,
    build: &[OsString],
    events: &mpsc::Receiver<notify::Result<Event>>,
    reloads: &broadcast::Sender<()>,
) {
    while let Ok(event) = events.recv() {
        if !event.is_ok_and(|event| matters(root, &event)) {
            continue;
        }
        while events.recv_timeout(QUIET).is_ok() {}
        if rebuild(build) == Outcome::Good {
            // Nobody has to be listening.
            let _ = reloads.send(());
        }
    }
}

/// Whether an event is a change of the book. The build itself reads all files, which
/// counts as an event, too.
fn matters(root: &Path, event: &Event) -> bool {
    let is_ours = |path: &Path| {
        path == root.join("book.toml")
            || ["book", "chapters", "images"]
                .iter()
                .any(|at| path.starts_with(root.join(at)))
    };
    !matches!(event.kind, EventKind::Access(_))
        && event.paths.iter().any(|p| is_ours(p))
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Good,
    Bad,
}

/// Runs the command that builds the book. What it has to say, it says itself.
fn rebuild(build: &[OsString]) -> Outcome {
    let Some((program, arguments)) = build.split_first() else { return Outcome::Bad };
    match Command::new(program).args(arguments).stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Outcome::Good,
        Ok(_) => Outcome::Bad,
        Err(error) => {
            eprintln!("cannot run {}: {error}", Path::new(program).display());
            Outcome::Bad
        }
    }
}

fn app(folder: &Path, news: &str, reloads: &broadcast::Sender<()>) -> Router {
    let reloads = reloads.clone();
    let reload = any(async move |upgrade: WebSocketUpgrade| {
        let heard = reloads.subscribe();
        upgrade.on_upgrade(|socket| announce(socket, heard))
    });
    let pages = ServeDir::new(folder)
        .not_found_service(ServeFile::new(folder.join("404.html")));
    let fresh = SetResponseHeaderLayer::overriding(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    Router::new()
        .route(&format!("/{news}"), reload)
        .fallback_service(pages)
        .layer(fresh)
        .layer(middleware::from_fn(only_this_machine))
}

/// Tells one page to load anew, then lets it go: it comes back as another.
async fn announce(mut socket: WebSocket, mut news: broadcast::Receiver<()>) {
    tokio::select! {
        Ok(()) = news.recv() => {
            // A page that has been closed in the meantime needs no news.
            let _ = socket.send("reload".into()).await;
        }
        _ = socket.recv() => {}
    }
}

/// A page elsewhere may point a name of its own at this machine; what it asks for in that
/// name is refused.
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    });
    match name {
        Some("localhost" | "127.0.0.1" | "[::1]") => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "this book is for this machine alone")
            .into_response(),
    }
}

fn open_browser(address: &str) {
    let (program, arguments): (_, &[&str]) = match std::env::consts::OS {
        "macos" => ("open", &[]),
        "windows" => ("cmd", &["/C", "start", ""]),
        _ => ("xdg-open", &[]),
    };
    let opened = Command::new(program)
        .args(arguments)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if opened.is_err() {
        eprintln!("no browser to open; go to {address}");
    }
}
