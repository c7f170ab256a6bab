//! What an idle connection costs the room server: starts a real one as a process of its own,
//! joins many connections in rooms of two, and reads its resident memory before and after.
//!
//! `cargo run --release -p kith-signaling --example idle -- [--connections N] [--json]`

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this measurement reads /proc and needs Linux");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use clap::Parser;
    use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
    use kith_protocol::invite::RoomKeys;
    use kith_protocol::room::{ClientMessage, ServerMessage};
    use kith_protocol::{Sid, derive, limits};
    use kith_signaling::Config;
    use kith_signaling::config::Rate;
    use rustix::process::{Resource, getrlimit, setrlimit};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
    use tokio_util::sync::CancellationToken;

    type Failure = Box<dyn Error + Send + Sync>;
    type Ws = WebSocketStream<TcpStream>;

    #[derive(Parser)]
    struct Args {
        /// Connections to open, in rooms of two.
        #[arg(long, default_value_t = 2000)]
        connections: usize,
        /// Joins going on at the same time.
        #[arg(long, default_value_t = 1)]
        at_once: usize,
        /// One line of JSON instead of text.
        #[arg(long)]
        json: bool,
        /// Be the server that is measured.
        #[arg(long, hide = true)]
        serve: bool,
    }

    pub fn main() -> Result<(), Box<dyn Error>> {
        let args = Args::parse();
        raise_file_limit()?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().build()?;
        let result = if args.serve {
            runtime.block_on(serve())
        } else {
            runtime.block_on(measure(&args))
        };
        result.map_err(|e| e as Box<dyn Error>)
    }

    /// Each process holds one end of every connection.
    fn raise_file_limit() -> Result<(), Box<dyn Error>> {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        Ok(setrlimit(Resource::Nofile, limit)?)
    }

    async fn serve() -> Result<(), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
        // All clients come from one address here, as fast as they can.
        let config = Config {
            max_connections: 1_000_000,
            max_per_address: 1_000_000,
            connect_rate: Rate::new(1_000_000, 1_000_000),
            join_rate: Rate::new(1_000_000, 1_000_000),
            ..Config::default()
        };
        Ok(kith_signaling::run(listener, config, CancellationToken::new()).await?)
    }

    async fn measure(args: &Args) -> Result<(), Failure> {
        let mut server = Server::start()?;
        let before = server.rss_kb()?;
        let began = Instant::now();
        let port = server.port;
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(|e| e.to_string())?;
        let joining = futures::stream::iter(0..args.connections).map(|n| async move {
            let room = n as u64 / 2;
            let keys = RoomKeys::derive(&derive::hash(&[&secret, &room.to_be_bytes()]));
            tokio::time::timeout(Duration::from_secs(20), join(port, &keys)).await?
        });
        let open: Vec<Ws> = joining
            .buffer_unordered(args.at_once.max(1))
            .try_collect()
            .await?;
        let took = began.elapsed();
        // Lets the last buffers of the joins be freed.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = server.rss_kb()?;
        let each = (after.saturating_sub(before)) as f64 / args.connections as f64;
        let per_second = args.connections as f64 / took.as_secs_f64();
        let n = open.len();
        let mut out = std::io::stdout();
        if args.json {
            writeln!(
                out,
                r#"{{"connections":{n},"rss_before_kb":{before},"rss_after_kb":{after},"kb_per_connection":{each:.2},"joins_per_second":{per_second:.0}}}"#
            )?;
        } else {
            writeln!(out, "{n} idle connections, joined at {per_second:.0}/s")?;
            writeln!(
                out,
                "RSS {before} KB before, {after} KB after: {each:.2} KB each"
            )?;
        }
        server.child.kill()?;
        server.child.wait()?;
        Ok(())
    }

    struct Server {
        child: Child,
        port: u16,
    }

    impl Server {
        fn start() -> Result<Self, Failure> {
            let mut child = Command::new(std::env::current_exe()?)
                .arg("--serve")
                .stdout(Stdio::piped())
                .spawn()?;
            let out = child.stdout.take().ok_or("the server has no output")?;
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line)?;
            let port = line.trim().parse()?;
            Ok(Server { child, port })
        }

        fn rss_kb(&self) -> Result<u64, Failure> {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            let kb = line.and_then(|l| l.split_whitespace().next());
            Ok(kb.ok_or("no VmRSS in /proc")?.parse()?)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    async fn join(port: u16, keys: &RoomKeys) -> Result<Ws, Failure> {
        let host = format!("127.0.0.1:{port}");
        let mut request = format!("ws://{host}/ws").into_client_request()?;
        let protocol = limits::SUBPROTOCOL.parse()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let tcp = TcpStream::connect(&host).await?;
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let config = Some(config.write_buffer_size(0));
        let (mut ws, _) = tokio_tungstenite::client_async_with_config(request, tcp, config).await?;
        let mut sid = [0u8; 16];
        getrandom::fill(&mut sid).map_err(|e| e.to_string())?;
        let sid = Sid(sid);
        let message = ClientMessage::Join {
            room_id: keys.room_id(),
            sid,
            access_pk: keys.access_pk(),
            caps: vec!["quic/1".into()],
        };
        ws.send(Message::text(message.to_text())).await?;
        loop {
            let text = ws.next().await.ok_or("closed")??.into_text()?;
            let said = ServerMessage::parse(&text)?;
            if let ServerMessage::Challenge { nonce } = said {
                let sig = keys.prove(&host, &nonce, &sid);
                let prove = ClientMessage::Prove { sig };
                ws.send(Message::text(prove.to_text())).await?;
            } else if matches!(said, ServerMessage::Joined { .. }) {
                return Ok(ws);
            } else {
                return Err(format!("unexpected: {said:?}").into());
            }
        }
    }
}
