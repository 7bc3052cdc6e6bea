//! A real S3 server (s3s-fs) on the loopback, with its buckets in a folder.

use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

/// The server; it stops with the test's process.
#[derive(Debug)]
pub struct S3Server {
    dir: tempfile::TempDir,
    address: String,
}

/// Who may write.
pub const ACCESS_KEY: &str = "AKIAAFIELDTEST";
/// And by what.
pub const SECRET_KEY: &str = "not a secret";

impl S3Server {
    /// A server with one bucket.
    pub fn start(bucket: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(bucket)).unwrap();
        let root = dir.path().to_owned();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve(root, tell));
        });
        Self { dir, address: told.recv().unwrap() }
    }

    /// What the environment must say for a client to find it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.address.clone()),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
        ]
    }

    /// Where a bucket's files lie.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

async fn serve(root: PathBuf, tell: std::sync::mpsc::Sender<String>) {
    let mut builder = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tell.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let server = Builder::new(TokioExecutor::new());
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let connection = server.serve_connection(TokioIo::new(socket), service.clone());
        tokio::spawn(connection.into_owned());
    }
}
