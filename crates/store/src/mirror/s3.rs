//! A bucket of an S3-compatible storage as a place. Endpoint, region and credentials come from the environment or a
//! file, never from arguments, which every process of the machine can read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path as FilePath;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion,
    WriteMultipart,
};
use tokio::runtime::Runtime;

use super::{Item, MAX_SMALL, MirrorError, Place, TIMESTAMP};

/// A file that is longer travels in parts, which become one object at the end.
const PART: u64 = 16 * 1024 * 1024;
/// So many parts travel at once.
const PARTS: usize = 4;
/// The file of credentials that other tools use, too.
const CREDENTIALS: &str = "AWS_SHARED_CREDENTIALS_FILE";

/// A bucket, or a folder of it.
pub struct S3 {
    shown: String,
    store: AmazonS3,
    prefix: Path,
    runtime: Runtime,
    /// The version of the timestamp that was seen.
    seen: Option<UpdateVersion>,
}

impl S3 {
    /// The place `s3://bucket/prefix`, with what of the environment is about S3 (`AWS_…`).
    pub fn open(
        address: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, MirrorError> {
        let wrong = |why: String| MirrorError::Remote {
            place: address.to_owned(),
            name: "the address".to_owned(),
            why,
        };
        let rest = address.strip_prefix("s3://").unwrap_or_default().trim_end_matches('/');
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("it is s3://BUCKET or s3://BUCKET/FOLDER".into()));
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch);
        for (name, value) in environment {
            if name == CREDENTIALS {
                let (id, secret) = credentials(FilePath::new(&value)).map_err(&wrong)?;
                builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            } else if name.starts_with("AWS_")
                && let Ok(key) = name.to_ascii_lowercase().parse()
            {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder.build().map_err(|e| wrong(e.to_string()))?;
        let prefix = Path::parse(prefix).map_err(|e| wrong(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| wrong(e.to_string()))?;
        Ok(Self { shown: address.to_owned(), store, prefix, runtime, seen: None })
    }

    fn at(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn says(&self, name: &str, error: &Error) -> MirrorError {
        let (place, name) = (self.shown.clone(), name.to_owned());
        MirrorError::Remote { place, name, why: error.to_string() }
    }

    fn bytes(&self, item: &Item) -> Result<Vec<u8>, MirrorError> {
        fs::read(&item.path).map_err(|e| self.unreadable(item, e))
    }

    fn unreadable(&self, item: &Item, source: std::io::Error) -> MirrorError {
        MirrorError::Io { place: self.shown.clone(), name: item.name.clone(), source }
    }

    /// Parts become an object when the last one is there, so that nobody sees half of it.
    fn put_parts(&self, item: &Item) -> Result<(), MirrorError> {
        let says = |e| self.says(&item.name, &e);
        let mut file = File::open(&item.path).map_err(|e| self.unreadable(item, e))?;
        self.runtime.block_on(async {
            let upload = self.store.put_multipart(&self.at(&item.name)).await.map_err(says)?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, PART as usize);
            let mut buffer = vec![0; 1024 * 1024];
            loop {
                let n = file.read(&mut buffer).map_err(|e| self.unreadable(item, e))?;
                if n == 0 {
                    break;
                }
                writer.wait_for_capacity(PARTS).await.map_err(says)?;
                writer.write(&buffer[..n]);
            }
            writer.finish().await.map(drop).map_err(says)
        })
    }
}

impl Place for S3 {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn list(&mut self) -> Result<BTreeMap<String, u64>, MirrorError> {
        let skip = match self.prefix.as_ref() {
            "" => 0,
            prefix => prefix.len() + 1,
        };
        let found = self.runtime.block_on(async {
            let mut found = BTreeMap::new();
            let mut list = self.store.list(Some(&self.prefix));
            while let Some(meta) = list.next().await {
                let meta = meta?;
                if let Some(name) = meta.location.as_ref().get(skip..) {
                    found.insert(name.to_owned(), meta.size);
                }
            }
            Ok(found)
        });
        found.map_err(|e| self.says("its list of files", &e))
    }

    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, MirrorError> {
        let got = self.runtime.block_on(async {
            let got = self.store.get(&self.at(name)).await?;
            if got.meta.size > MAX_SMALL {
                return Ok(None);
            }
            let version =
                UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
            Ok(Some((got.bytes().await?, version)))
        });
        match got {
            Ok(None) | Err(Error::NotFound { .. }) => Ok(None),
            Ok(Some((bytes, version))) => {
                if name == TIMESTAMP {
                    self.seen = Some(version);
                }
                Ok(Some(bytes.to_vec()))
            }
            Err(e) => Err(self.says(name, &e)),
        }
    }

    fn put(&mut self, item: &Item) -> Result<(), MirrorError> {
        if item.size > PART {
            return self.put_parts(item);
        }
        let payload = PutPayload::from(self.bytes(item)?);
        let at = self.at(&item.name);
        let put = self.store.put(&at, payload);
        self.runtime.block_on(put).map(drop).map_err(|e| self.says(&item.name, &e))
    }

    /// Two machines that publish at once: the second finds another timestamp than it saw, and stops. A storage that
    /// knows no conditions just replaces; then releases must be made on one machine alone.
    fn replace(&mut self, item: &Item, old: Option<&[u8]>) -> Result<(), MirrorError> {
        let mode = match (old, self.seen.take()) {
            (Some(_), Some(version)) => PutMode::Update(version),
            (Some(_), None) => PutMode::Overwrite,
            (None, _) => PutMode::Create,
        };
        let payload = PutPayload::from(self.bytes(item)?);
        let options = PutOptions::from(mode);
        let at = self.at(&item.name);
        let put = self.store.put_opts(&at, payload, options);
        match self.runtime.block_on(put) {
            Ok(_) => Ok(()),
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => {
                Err(MirrorError::Changed { place: self.shown.clone() })
            }
            Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => self.put(item),
            Err(e) => Err(self.says(&item.name, &e)),
        }
    }
}

/// `aws_access_key_id` and `aws_secret_access_key` of the first profile of a file.
fn credentials(file: &FilePath) -> Result<(String, String), String> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|e| format!("{CREDENTIALS}: {shown}: {e}"))?;
    let find = |key: &str| {
        let mut values = text.lines().filter_map(|line| line.split_once('='));
        let found = values.find(|(name, _)| name.trim() == key);
        let value = found.map(|(_, value)| value.trim().to_owned());
        value.ok_or_else(|| format!("{CREDENTIALS}: {shown} has no {key}"))
    };
    Ok((find("aws_access_key_id")?, find("aws_secret_access_key")?))
}
