//! A queue in NATS JetStream: one stream with one message per open shard, and one durable consumer that all workers pull from.
//!
//! - The stream keeps one message per subject and refuses a second one, so that submitting twice stores once. It knows no
//!   message ids: JetStream remembers those of messages that are gone, and a queue that was wiped could not be filled again.
//! - The consumer delivers without end: how often a shard was tried is written in the output, which survives the broker.
//! - Renewals go by the time that the server says, whatever this worker asked for: another may have asked for another one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config as ConsumerConfig;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamErrorKind, PublishError, PublishErrorKind,
};
use async_nats::jetstream::stream::{
    Config as StreamConfig, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{AckKind, Context, ErrorCode};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use percent_encoding::percent_decode_str;
use tokio::sync::Mutex;

use super::{Broker, Delivery, ShardMessage, Standing, Stored};
use crate::config::{Queue, shown_addresses};
use crate::input::storage::redact;
use crate::output::RunId;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

/// An answer takes at most so long.
const ANSWER: Duration = Duration::from_secs(5);

/// So many messages are on their way at once.
const STORED_AT_ONCE: usize = 256;

/// The server's own limit, 512, would turn the workers beyond it away.
const MAX_WAITING: i64 = 16_384;

/// The server's own limit, 1,000, would withhold messages from large fleets.
const UNLIMITED: i64 = -1;

/// A queue of one output.
pub struct Nats {
    client: Client,
    context: Context,
    options: Queue,
    /// The output that it is for,
    output: String,
    /// and the runs of it: all that have the same fingerprint.
    series: String,
    consumer: Mutex<Option<PullConsumer>>,
    lease_millis: AtomicU64,
}

impl Nats {
    /// Connects, and makes the stream and its consumer unless they are there.
    ///
    /// - `output`: URI of the output whose shards it is for
    /// - `series`: what the ids of its runs begin with
    ///
    /// # Errors
    ///
    /// `Config` if the server refuses this worker, or has another stream of that name; `Unavailable` if it does not answer.
    pub async fn connect(options: &Queue, output: &str, series: &str) -> Result<Self> {
        let client = connect(options).await?;
        let mut context = async_nats::jetstream::new(client.clone());
        context.set_timeout(ANSWER);
        let nats = Self {
            client,
            context,
            options: options.clone(),
            output: redact(output),
            series: series.to_owned(),
            consumer: Mutex::default(),
            lease_millis: AtomicU64::new(millis(options.lease)),
        };
        nats.consumer().await?;
        Ok(nats)
    }

    /// Returns the name of the stream and its consumer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Returns the consumer, made anew if it is not known to be there.
    async fn consumer(&self) -> Result<PullConsumer> {
        let mut known = self.consumer.lock().await;
        if let Some(consumer) = &*known {
            return Ok(consumer.clone());
        }
        let stream = self.stream().await?;
        // What is there stays as it is: workers go by the time that the first of them has asked for.
        let consumer = stream.get_or_create_consumer(self.name(), self.consumer_config()).await;
        let consumer = consumer.map_err(|error| match error.kind() {
            ConsumerErrorKind::JetStream(refusal) => self.refuses(&refusal),
            _ => self.does_not_answer(error),
        })?;
        self.lease_millis.store(millis(consumer.cached_info().config.ack_wait), Ordering::Relaxed);
        *known = Some(consumer.clone());
        Ok(consumer)
    }

    /// The consumer, or its stream, may be gone: the next who needs it makes it again.
    async fn forget_consumer(&self) {
        *self.consumer.lock().await = None;
    }

    /// Returns the stream, made if it is missing; one that is empty is taken over from earlier runs of the output.
    async fn stream(&self) -> Result<Stream> {
        let is_missing = |kind| matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND);
        match self.context.get_stream(self.name()).await {
            Ok(stream) if self.is_ours(&stream) => Ok(stream),
            Ok(stream) if self.may_take_over(&stream) => {
                let taken = self.context.update_stream(self.stream_config()).await;
                taken.map(|_| stream).map_err(|error| self.cannot_make(error.kind(), &error))
            }
            Ok(stream) => Err(self.is_in_use(&stream)),
            Err(error) if is_missing(error.kind()) => {
                let made = self.context.create_stream(self.stream_config()).await;
                made.map_err(|error| self.cannot_make(error.kind(), &error))
            }
            Err(error) => Err(self.does_not_answer(error)),
        }
    }

    fn stream_config(&self) -> StreamConfig {
        StreamConfig {
            name: self.name().to_owned(),
            description: Some(self.description()),
            subjects: vec![format!("{}.>", self.name())],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            num_replicas: self.options.replicas.get(),
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..StreamConfig::default()
        }
    }

    fn consumer_config(&self) -> ConsumerConfig {
        ConsumerConfig {
            durable_name: Some(self.name().to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.options.lease,
            max_deliver: UNLIMITED,
            max_ack_pending: UNLIMITED,
            max_waiting: MAX_WAITING,
            ..ConsumerConfig::default()
        }
    }

    /// Tells whether the stream is for these runs, and keeps one message per shard.
    fn is_ours(&self, stream: &Stream) -> bool {
        self.keeps_one_per_shard(stream)
            && stream.cached_info().config.description == Some(self.description())
    }

    /// Tells whether nothing is left of earlier runs of this output, of another pipeline or model.
    fn may_take_over(&self, stream: &Stream) -> bool {
        let info = stream.cached_info();
        let is_of_output = |said: &String| said.starts_with(&self.description_of_output());
        self.keeps_one_per_shard(stream)
            && info.state.messages == 0
            && info.config.description.as_ref().is_some_and(is_of_output)
    }

    fn keeps_one_per_shard(&self, stream: &Stream) -> bool {
        let keeps = |config: &StreamConfig| {
            (config.retention, config.max_messages_per_subject, config.discard_new_per_subject)
        };
        keeps(&stream.cached_info().config) == keeps(&self.stream_config())
    }

    fn description_of_output(&self) -> String {
        format!("open shards of {}, runs ", self.output)
    }

    fn description(&self) -> String {
        self.description_of_output() + &self.series
    }

    fn is_in_use(&self, stream: &Stream) -> Error {
        let (name, info) = (self.name(), stream.cached_info());
        let what = info.config.description.as_deref().unwrap_or("something else");
        let holds = counted(info.state.messages, "message");
        Error::config(format!("the stream {name} is for {what}, and has {holds}; this queue is for {}", self.description()))
            .hint("let workers with that pipeline drain it first, or give each output and model a queue of its own: `queue.name`")
    }

    fn cannot_make(&self, kind: CreateStreamErrorKind, error: &impl fmt::Display) -> Error {
        match kind {
            CreateStreamErrorKind::JetStream(refusal) => self.refuses(&refusal),
            _ => self.does_not_answer(error),
        }
    }

    /// Tells what JetStream itself refuses: no time helps, unless it says that it is overtaxed.
    fn refuses(&self, refusal: &async_nats::jetstream::Error) -> Error {
        if refusal.code() >= 500 && refusal.error_code() != ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED {
            return self.does_not_answer(refusal);
        }
        Error::config(format!("the NATS server does not make the queue {}", self.name()))
            .because(redact(&refusal.to_string()))
            .hint("`queue.replicas` above 1 needs a cluster; otherwise look at the limits of the account")
    }

    async fn pull_one(&self, at_most: Duration) -> Result<Option<Delivery>> {
        let consumer = self.consumer().await?;
        let pulled = consumer.batch().max_messages(1).expires(at_most).messages().await;
        let mut messages = pulled.map_err(|error| self.does_not_answer(error))?;
        match messages.next().await {
            None => Ok(None),
            Some(Ok(message)) => self.read(&message).await,
            Some(Err(error)) => {
                // The consumer is gone, or too many wait; which it is, shows the next question.
                tracing::debug!("no message: {error}");
                self.forget_consumer().await;
                Ok(None)
            }
        }
    }

    /// Reads a message; one that is not ours is taken away.
    async fn read(&self, message: &async_nats::jetstream::Message) -> Result<Option<Delivery>> {
        let receipt = message.reply.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Some(message) = ShardMessage::from_json(&message.payload) {
            return Ok(Some(Delivery { message, receipt }));
        }
        tracing::warn!(queue = self.name(), "a message that names no shard is taken away");
        self.answer(receipt, AckKind::Term).await?;
        Ok(None)
    }

    /// Answers a delivery, and waits until the server has heard it.
    async fn answer(&self, receipt: String, what: AckKind) -> Result<()> {
        let answered = self.client.request(receipt, what.into()).await;
        answered.map(|_| ()).map_err(|error| self.does_not_answer(error))
    }

    async fn store_all(&self, run: &RunId, shards: &[u32]) -> Result<Stored> {
        self.consumer().await?;
        stream::iter(shards.to_vec())
            .map(|shard| self.store_one(ShardMessage { run: run.clone(), shard }))
            .buffer_unordered(STORED_AT_ONCE)
            .try_fold(Stored::default(), async |stored, is_new| {
                Ok(Stored {
                    new: stored.new + u64::from(is_new),
                    there_before: stored.there_before + u64::from(!is_new),
                })
            })
            .await
    }

    /// Returns whether it is a new message.
    async fn store_one(&self, message: ShardMessage) -> Result<bool> {
        let subject = format!("{}.{}", self.name(), message.subject());
        let sent = self.context.publish(subject, message.to_json().into()).await;
        let stored = match sent {
            Ok(stored) => stored.await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(_) => Ok(true),
            Err(error) if has_message(&error) => Ok(false),
            Err(error) => {
                self.forget_consumer().await;
                Err(self.does_not_answer(error))
            }
        }
    }

    async fn count(&self) -> Result<Standing> {
        let consumer = self.consumer().await?;
        match consumer.get_info().await {
            Ok(info) => {
                self.lease_millis.store(millis(info.config.ack_wait), Ordering::Relaxed);
                Ok(Standing { pending: info.num_pending, held: info.num_ack_pending as u64 })
            }
            Err(error) => {
                self.forget_consumer().await;
                Err(self.does_not_answer(error))
            }
        }
    }

    fn does_not_answer(&self, cause: impl fmt::Display) -> Error {
        let name = self.name();
        Error::unavailable(format!("the queue {name} does not answer"))
            .because(redact(&cause.to_string()))
            .hint("look at the NATS server: is it there, with JetStream (`nats-server -js`), and may this user use it?")
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Tells whether a message was refused since its shard has one.
fn has_message(error: &PublishError) -> bool {
    use std::error::Error as _;
    let cause = error.source().and_then(|cause| cause.downcast_ref::<async_nats::jetstream::Error>());
    error.kind() == PublishErrorKind::Other
        && cause.is_some_and(|cause| {
            cause.error_code() == ErrorCode::STREAM_STORE_FAILED && cause.to_string().contains("per subject")
        })
}

async fn connect(options: &Queue) -> Result<Client> {
    let servers = servers(options)?;
    let mut connecting = ConnectOptions::new()
        .name("tilefleet")
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER))
        .event_callback(async |event| tell(&event));
    // The client takes neither from an address.
    if let Some(first) = servers.first().filter(|first| first.has_user_pass()) {
        let decoded =
            |text: Option<&str>| text.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        let user = decoded(first.username()).unwrap_or_default();
        connecting = match decoded(first.password()) {
            Some(password) => connecting.user_and_password(user, password),
            None => connecting.token(user),
        };
    }
    if let Some(file) = &options.credentials {
        connecting = connecting.credentials_file(file).await.map_err(|error| {
            Error::config(format!("cannot use the credentials in {}", file.display()))
                .because(error)
                .hint("`queue.credentials` names a file that `nsc generate creds` has written")
        })?;
    }
    connecting.connect(servers).await.map_err(|error| cannot_connect(options, &error))
}

fn servers(options: &Queue) -> Result<Vec<ServerAddr>> {
    let parse = |url: &String| {
        url.parse().map_err(|_| {
            Error::config(format!("`queue.url` has no address of NATS: {}", shown_addresses(url)))
                .hint(URL_FORM)
        })
    };
    options.servers.iter().map(parse).collect()
}

const URL_FORM: &str = "it looks like nats://host:4222 or tls://host:4222; special characters of a password are \
                        percent-encoded, such as %40 for @";

fn cannot_connect(options: &Queue, error: &ConnectError) -> Error {
    let hosts = shown_addresses(&options.servers.join(","));
    let message = format!("cannot connect to the queue at {hosts}");
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Error::config(message)
            .hint(
                "set user and password in `queue.url`, or a file of NATS credentials in `queue.credentials`",
            ),
        ConnectErrorKind::ServerParse => Error::config(message).hint(URL_FORM),
        _ => Error::unavailable(message)
            .hint("look whether the NATS server is there, and `queue.url` leads to it"),
    }
    .because(redact(&error.to_string()))
}

fn tell(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to the queue"),
        Event::Disconnected => tracing::warn!("the connection to the queue is lost; it is tried again"),
        Event::ServerError(error) => tracing::warn!("the queue says: {}", redact(&error.to_string())),
        event => tracing::debug!("queue: {event}"),
    }
}

impl Broker for Nats {
    fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_millis.load(Ordering::Relaxed))
    }

    fn pull(&self, at_most: Duration) -> BoxFuture<'_, Result<Option<Delivery>>> {
        self.pull_one(at_most).boxed()
    }

    fn extend<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        self.answer(delivery.receipt.clone(), AckKind::Progress).boxed()
    }

    fn finish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        self.answer(delivery.receipt.clone(), AckKind::Ack).boxed()
    }

    fn put_back<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        let after = Some(after).filter(|after| !after.is_zero());
        self.answer(delivery.receipt.clone(), AckKind::Nak(after)).boxed()
    }

    fn store<'a>(&'a self, run: &'a RunId, shards: &'a [u32]) -> BoxFuture<'a, Result<Stored>> {
        self.store_all(run, shards).boxed()
    }

    fn standing(&self) -> BoxFuture<'_, Result<Standing>> {
        self.count().boxed()
    }
}
