/* mock: a model server made of nothing but its wire format, so that what is measured is the gateway before it.
 *
 *   mock PORT MODEL...        serves 127.0.0.1:PORT until killed; PORT 0 takes a free one; prints "PORT\n" when it listens
 *
 * The model's name is the knob, because every gateway passes it on: bench-N-GAP within it answers with N tokens, all at once when
 * GAP is 0, else one chunk each GAP milliseconds. A token is " tick" and the time it left (microseconds, 12 hex digits),
 * so that the load generator can count tokens and say how long each was on its way, whatever format they arrive in.
 *
 *   POST .../chat/completions, .../messages (stream or not)   GET .../models   GET /seen (requests and body bytes so far)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MOST_FDS 65536

typedef struct {
    char *data;
    size_t length, room;
} Bytes;

typedef struct {
    int fd, timer;         /* timer: -1 unless a paced stream is open */
    Bytes in, out;
    size_t sent;           /* how much of out has been written */
    int anthropic, tokens, left; /* left: tokens still to come in the paced stream */
} Connection;

static Connection *by_fd[MOST_FDS]; /* a connection stands here under its socket and under its timer */
static int loop;
static unsigned long long requests_seen, bytes_seen;
static char **models;

static void room(Bytes *b, size_t more) {
    if (b->length + more <= b->room) return;
    b->room = (b->length + more) * 2;
    b->data = realloc(b->data, b->room);
    if (!b->data) abort();
}

static void add(Bytes *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    room(b, 4096);
    b->length += (size_t)vsnprintf(b->data + b->length, 4096, format, args);
    va_end(args);
}

/* One HTTP chunk, so that each event is framed on its own as model servers do it. */
static void add_chunk(Bytes *b, const char *format, ...) {
    char event[4096];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(event, sizeof event, format, args);
    va_end(args);
    add(b, "%x\r\n%s\r\n", length, event);
}

static unsigned long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000 + (unsigned long long)t.tv_nsec / 1000;
}

static void arrange(int op, int fd, uint32_t events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    epoll_ctl(loop, op, fd, &e);
}

#define CHUNK_HEAD "data: {\"choices\":[{\"finish_reason\":%s,\"index\":0,\"delta\":{"
#define CHUNK_TAIL \
    "}}],\"created\":1795203120,\"id\":\"chatcmpl-Fixd0wNt0cvwMm1JPP0335RU9ysD81QQ\",\"model\":\"bench\"," \
    "\"system_fingerprint\":\"b0-unknown\",\"object\":\"chat.completion.chunk\"}\n\n"

static void add_start(Connection *c) {
    add(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    if (!c->anthropic) {
        add_chunk(&c->out, CHUNK_HEAD "\"role\":\"assistant\",\"content\":null" CHUNK_TAIL, "null");
        return;
    }
    add_chunk(&c->out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01bench\","
        "\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"bench\",\"stop_reason\":null,"
        "\"stop_sequence\":null,\"usage\":{\"cache_read_input_tokens\":26,\"input_tokens\":1,\"output_tokens\":1}}}\n\n");
    add_chunk(&c->out, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
        "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
}

static void add_token(Connection *c) {
    if (c->anthropic)
        add_chunk(&c->out, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
            "\"delta\":{\"type\":\"text_delta\",\"text\":\" tick%012llx\"}}\n\n", now_us());
    else
        add_chunk(&c->out, CHUNK_HEAD "\"content\":\" tick%012llx\"" CHUNK_TAIL, "null", now_us());
}

static void add_end(Connection *c) {
    if (c->anthropic) {
        add_chunk(&c->out, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
        add_chunk(&c->out, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
            "\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":%d}}\n\n", c->tokens);
        add_chunk(&c->out, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    } else {
        add_chunk(&c->out, CHUNK_HEAD CHUNK_TAIL, "\"stop\"");
        add_chunk(&c->out, "data: {\"choices\":[],\"created\":1795203120,\"id\":\"chatcmpl-Fixd0wNt0cvwMm1JPP0335RU9ysD81QQ\","
            "\"model\":\"bench\",\"object\":\"chat.completion.chunk\",\"usage\":{\"completion_tokens\":%d,"
            "\"prompt_tokens\":38,\"total_tokens\":%d,\"prompt_tokens_details\":{\"cached_tokens\":24}}}\n\n",
            c->tokens, c->tokens + 38);
        add_chunk(&c->out, "data: [DONE]\n\n");
    }
    add(&c->out, "0\r\n\r\n");
}

static void add_json(Connection *c, int status, const Bytes *body) {
    add(&c->out, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status,
        status == 200 ? "OK" : "Not Found", body->length);
    room(&c->out, body->length);
    memcpy(c->out.data + c->out.length, body->data, body->length);
    c->out.length += body->length;
}

static void add_whole(Connection *c) {
    int tokens = c->tokens;
    Bytes body = {0};
    if (c->anthropic)
        add(&body, "{\"id\":\"msg_01bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench\","
            "\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"cache_read_input_tokens\":26,"
            "\"input_tokens\":1,\"output_tokens\":%d},\"content\":[{\"type\":\"text\",\"text\":\"", tokens);
    else
        add(&body, "{\"created\":1795203119,\"model\":\"bench\",\"object\":\"chat.completion\",\"usage\":"
            "{\"completion_tokens\":%d,\"prompt_tokens\":37,\"total_tokens\":%d,\"prompt_tokens_details\":"
            "{\"cached_tokens\":0}},\"id\":\"chatcmpl-iGTh8ktQLpQDoranIg5gVbOzbjePi0n8\",\"choices\":[{\"finish_reason\":"
            "\"stop\",\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"", tokens, tokens + 37);
    for (int i = 0; i < tokens; i++) add(&body, " tick%012llx", now_us());
    add(&body, c->anthropic ? "\"}]}" : "\"}}]}");
    add_json(c, 200, &body);
    free(body.data);
}

static void drop(Connection *c) {
    if (c->timer >= 0) {
        by_fd[c->timer] = NULL;
        close(c->timer);
    }
    by_fd[c->fd] = NULL;
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

/* Write what there is. Both directions are edge-triggered, so the rest goes out when the socket says so. 0: gone. */
static int flush(Connection *c) {
    while (c->sent < c->out.length) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.length - c->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        c->sent += (size_t)n;
    }
    c->out.length = c->sent = 0;
    return 1;
}

static void answer(Connection *c, const char *target, const char *body, size_t length) {
    Bytes json = {0};
    int tokens = 1, gap = 0;
    if (strstr(target, "/seen")) {
        add(&json, "{\"requests\":%llu,\"bytes\":%llu}", requests_seen, bytes_seen);
        add_json(c, 200, &json);
    } else if (strstr(target, "/models")) {
        add(&json, "{\"object\":\"list\",\"data\":[");
        for (char **m = models; *m; m++)
            add(&json, "%s{\"id\":\"%s\",\"object\":\"model\",\"owned_by\":\"bench\"}", m == models ? "" : ",", *m);
        add(&json, "]}");
        add_json(c, 200, &json);
    } else if (strstr(target, "/chat/completions") || strstr(target, "/messages")) {
        const char *name = memmem(body, length, "bench-", 6);
        if (name) sscanf(name, "bench-%d-%d", &tokens, &gap);
        requests_seen++;
        bytes_seen += length;
        c->tokens = tokens;
        c->anthropic = strstr(target, "/messages") != NULL;
        if (!memmem(body, length, "\"stream\":true", 13) && !memmem(body, length, "\"stream\": true", 14)) {
            add_whole(c);
        } else if (gap == 0) {
            add_start(c);
            for (int i = 0; i < tokens; i++) add_token(c);
            add_end(c);
        } else {
            add_start(c);
            add_token(c);
            c->left = tokens - 1;
            c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
            if (c->timer < 0) abort();
            struct timespec every = {gap / 1000, (long)(gap % 1000) * 1000000};
            timerfd_settime(c->timer, 0, &(struct itimerspec){every, every}, NULL);
            by_fd[c->timer] = c;
            arrange(EPOLL_CTL_ADD, c->timer, EPOLLIN);
        }
    } else {
        add(&json, "{\"error\":{\"message\":\"no such path\",\"type\":\"not_found_error\",\"code\":404}}");
        add_json(c, 404, &json);
    }
    free(json.data);
}

/* Answer every whole request in the buffer. 0: gone. */
static int serve(Connection *c) {
    for (;;) {
        room(&c->in, 65536);
        ssize_t n = recv(c->fd, c->in.data + c->in.length, c->in.room - c->in.length - 1, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return 0;
        if (n < 0) break;
        c->in.length += (size_t)n;
        c->in.data[c->in.length] = 0;
        char *end;
        while (c->timer < 0 && (end = memmem(c->in.data, c->in.length, "\r\n\r\n", 4))) {
            *end = 0;
            char *field = strcasestr(c->in.data, "\r\ncontent-length:");
            size_t length = field ? strtoul(field + 17, NULL, 10) : 0, head = (size_t)(end - c->in.data) + 4;
            if (strcasestr(c->in.data, "\r\ntransfer-encoding:")) return 0; /* a client that needs it must be taught here */
            if (c->in.length < head + length) {
                *end = '\r';
                break;
            }
            *strchrnul(c->in.data, '\r') = 0; /* the request line alone */
            answer(c, c->in.data, c->in.data + head, length);
            c->in.length -= head + length;
            memmove(c->in.data, c->in.data + head + length, c->in.length + 1);
        }
    }
    return flush(c);
}

static int tick(Connection *c) {
    uint64_t times;
    if (read(c->timer, &times, sizeof times) < 0) return 1;
    if (c->left > 0) {
        add_token(c);
        c->left--;
    } else {
        add_end(c);
        by_fd[c->timer] = NULL;
        close(c->timer);
        c->timer = -1;
    }
    return flush(c);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: mock PORT MODEL...\n");
        return 2;
    }
    models = argv + 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < MOST_FDS ? files.rlim_max : MOST_FDS;
    setrlimit(RLIMIT_NOFILE, &files);
    int one = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (struct sockaddr *)&at, size) || listen(door, 4096) || getsockname(door, (struct sockaddr *)&at, &size)) {
        perror("mock");
        return 1;
    }
    loop = epoll_create1(EPOLL_CLOEXEC);
    arrange(EPOLL_CTL_ADD, door, EPOLLIN);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (struct epoll_event events[256];;) {
        int n = epoll_wait(loop, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            Connection *c = by_fd[fd];
            if (fd == door) {
                int client = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (client < 0) continue;
                if (client >= MOST_FDS) abort();
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                c = by_fd[client] = calloc(1, sizeof *c);
                c->fd = client;
                c->timer = -1;
                arrange(EPOLL_CTL_ADD, client, EPOLLIN | EPOLLOUT | EPOLLET);
            } else if (c && !(fd == c->timer ? tick(c) : serve(c))) {
                drop(c);
            }
        }
    }
}
