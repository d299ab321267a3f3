/* load: sends one request again and again over kept-open connections, and checks that every answer is whole.
 *
 *   load PORT PATH BODY CONNECTIONS REQUESTS TOKENS FINAL RAMP
 *
 * BODY is a file. Connections start RAMP microseconds apart. An answer counts when its status is 200, it holds TOKENS
 * of mock's tokens and the text FINAL, and its HTTP framing ends. Prints {"open":CONNECTIONS} at the moment when every
 * connection has seen a token, and one line of figures (microseconds) at the end. Nothing here knows a gateway's format.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define READ 65536
#define CARRY 64 /* a token or FINAL that lies across two reads is found again from here */
#define MOST_FDS 65536
#define MARK " tick"
#define MARK_LENGTH (sizeof MARK - 1 + 12)

typedef struct {
    uint32_t *data;
    size_t length, room;
} Series;

typedef enum { HEAD, WHOLE, SIZE, DATA, AFTER, TRAILER, DONE } State;

typedef struct {
    int fd, busy, status, tokens, final, seen, served;
    State state;
    size_t sent, left, line; /* left: of the body or chunk; line: characters in this trailer line */
    size_t head_length, text_length;
    char head[16384], text[CARRY + READ];
    uint64_t began;
} Connection;

static int loop, connections, requests, tokens_wanted, open_streams;
static struct sockaddr_in at = {.sin_family = AF_INET};
static char *message;
static size_t message_length;
static const char *final;
static Connection *by_fd[MOST_FDS];
static int started, finished, failed, reconnects, arrivals, most, bad_status;
static long long tokens_seen;
static Series latency, first, delay;
static char complaint[200];

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void note(Series *s, uint64_t value) {
    if (s->length == s->room) s->data = realloc(s->data, (s->room = s->room ? s->room * 2 : 4096) * sizeof *s->data);
    if (!s->data) abort();
    s->data[s->length++] = (uint32_t)value;
}

static void dial(Connection *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || c->fd >= MOST_FDS || connect(c->fd, (struct sockaddr *)&at, sizeof at)) {
        perror("load: connect");
        exit(1);
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    by_fd[c->fd] = c;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = c->fd};
    epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &e);
    c->served = 0;
}

static void hang_up(Connection *c) {
    by_fd[c->fd] = NULL;
    close(c->fd);
    c->fd = -1;
}

static void push(Connection *c) {
    while (c->busy && c->sent < message_length) {
        ssize_t n = send(c->fd, message + c->sent, message_length - c->sent, MSG_NOSIGNAL);
        if (n < 0) return; /* full: later; broken: the read says so */
        c->sent += (size_t)n;
    }
}

static void ask(Connection *c) {
    if (started == requests) {
        hang_up(c);
        return;
    }
    started++;
    c->busy = 1;
    c->state = HEAD;
    c->sent = c->head_length = c->text_length = c->left = c->line = 0;
    c->status = c->tokens = c->final = 0;
    c->began = now_us();
    push(c);
}

static void settle(Connection *c, const char *wrong) {
    c->busy = 0;
    c->served = 1;
    finished++;
    if (!wrong && c->status != 200) wrong = "status";
    if (!wrong && c->tokens != tokens_wanted) wrong = "tokens";
    if (!wrong && !c->final) wrong = "no final event";
    if (wrong) {
        failed++;
        bad_status = c->status;
        if (!complaint[0]) {
            snprintf(complaint, sizeof complaint, "%s: status %d, %d of %d tokens: ", wrong, c->status, c->tokens, tokens_wanted);
            size_t n = strlen(complaint);
            for (size_t i = 0; i < c->text_length && n < sizeof complaint - 1; i++)
                complaint[n++] = strchr("\"\\\r\n\t", c->text[i]) ? '\'' : c->text[i];
        }
        return;
    }
    note(&latency, now_us() - c->began);
}

/* Look at the decoded body: text holds what is new behind the last few characters of what was seen before. */
static void scan(Connection *c) {
    size_t from = 0;
    uint64_t now = now_us();
    int here = 0;
    for (char *p; (p = memmem(c->text + from, c->text_length - from, MARK, sizeof MARK - 1));) {
        size_t place = (size_t)(p - c->text);
        if (place + MARK_LENGTH > c->text_length) break;
        char stamp[13] = {0};
        memcpy(stamp, p + sizeof MARK - 1, 12);
        uint64_t left = strtoull(stamp, NULL, 16);
        note(&delay, now > left ? now - left : 0);
        if (c->tokens++ == 0) note(&first, now - c->began);
        here++;
        from = place + MARK_LENGTH;
    }
    c->final |= memmem(c->text, c->text_length, final, strlen(final)) != NULL;
    tokens_seen += here;
    arrivals += here > 0;
    if (here > most) most = here;
    if (here && !c->seen) {
        c->seen = 1;
        if (++open_streams == connections) {
            printf("{\"open\":%d}\n", connections);
            fflush(stdout);
        }
    }
    size_t keep = c->text_length - from < CARRY ? c->text_length - from : CARRY;
    if (c->state != DONE) {
        memmove(c->text, c->text + c->text_length - keep, keep);
        c->text_length = keep;
    }
}

static void read_head(Connection *c) {
    c->head[c->head_length] = 0;
    c->status = atoi(c->head + 9);
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    c->left = length ? strtoul(length + 17, NULL, 10) : 0;
    c->state = strcasestr(c->head, "\r\ntransfer-encoding: chunked") ? SIZE : c->left ? WHOLE : DONE;
    if (c->state == SIZE) c->left = 0;
    if (c->status < 200) { /* 100 Continue and its like: the real head follows */
        c->state = HEAD;
        c->head_length = 0;
    }
}

static void take(Connection *c, const char *bytes, size_t n) {
    for (size_t i = 0; i < n && c->state != DONE;) {
        char b = bytes[i];
        if (c->state == DATA || c->state == WHOLE) {
            size_t part = n - i < c->left ? n - i : c->left;
            memcpy(c->text + c->text_length, bytes + i, part);
            c->text_length += part;
            c->left -= part;
            i += part;
            if (c->left == 0) c->state = c->state == DATA ? AFTER : DONE;
            continue;
        }
        i++;
        if (c->state == HEAD) {
            if (c->head_length == sizeof c->head - 1) exit(1);
            c->head[c->head_length++] = b;
            if (b == '\n' && c->head_length > 3 && !memcmp(c->head + c->head_length - 4, "\r\n\r\n", 4)) read_head(c);
        } else if (c->state == SIZE) {
            if (b == '\n') c->state = c->left ? DATA : TRAILER;
            else if (b != '\r') c->left = c->left * 16 + (size_t)(b <= '9' ? b - '0' : (b | 32) - 'a' + 10);
        } else if (c->state == AFTER) {
            if (b == '\n') c->state = SIZE;
        } else if (b == '\n') { /* TRAILER: an empty line ends it */
            if (c->line == 0) c->state = DONE;
            c->line = 0;
        } else if (b != '\r') {
            c->line++;
        }
    }
}

static void pull(Connection *c) {
    static char bytes[READ];
    for (ssize_t n; (n = recv(c->fd, bytes, READ, 0)) != 0 && !(n < 0 && errno != EAGAIN && errno != EINTR);) {
        if (n < 0) return;
        take(c, bytes, (size_t)n);
        scan(c);
        if (c->state == DONE && c->busy) {
            settle(c, NULL);
            ask(c);
            if (c->fd < 0) return;
        }
    }
    int again = c->busy && c->served && c->head_length == 0; /* a kept-open connection may end between two requests */
    if (c->busy && !again) settle(c, "connection ended");
    if (again) started--;
    hang_up(c);
    if (started < requests) {
        reconnects++;
        dial(c);
        ask(c);
    }
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void figures(const char *name, Series *s) {
    if (s->length) qsort(s->data, s->length, sizeof *s->data, by_value);
    printf(",\"%s_p50\":%u,\"%s_p99\":%u", name, s->length ? s->data[s->length / 2] : 0, name,
           s->length ? s->data[s->length * 99 / 100] : 0);
}

static void compose(const char *path, const char *file) {
    struct stat s;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &s)) {
        perror(file);
        exit(1);
    }
    message = malloc((size_t)s.st_size + 4096);
    message_length = (size_t)sprintf(message,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        "User-Agent: claude-cli/2.1.329 (external, sdk-cli)\r\n"
        "X-Claude-Code-Session-Id: 00000000-0000-4000-8000-000000000000\r\nX-Stainless-Arch: x64\r\nX-Stainless-Lang: js\r\n"
        "X-Stainless-OS: Linux\r\nX-Stainless-Package-Version: 0.128.0\r\nX-Stainless-Retry-Count: 0\r\n"
        "X-Stainless-Runtime: node\r\nX-Stainless-Runtime-Version: v26.12.1\r\nX-Stainless-Timeout: 600\r\n"
        "anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
        "effort-2025-11-24\r\nanthropic-dangerous-direct-browser-access: true\r\nanthropic-version: 2023-06-01\r\n"
        "x-api-key: bench\r\nx-app: cli\r\nContent-Length: %zu\r\n\r\n", path, ntohs(at.sin_port), (size_t)s.st_size);
    for (ssize_t n; (n = read(fd, message + message_length, 1 << 20)) > 0;) message_length += (size_t)n;
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: load PORT PATH BODY CONNECTIONS REQUESTS TOKENS FINAL RAMP\n");
        return 2;
    }
    at.sin_port = htons((uint16_t)atoi(argv[1]));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    compose(argv[2], argv[3]);
    connections = atoi(argv[4]);
    requests = atoi(argv[5]);
    tokens_wanted = atoi(argv[6]);
    final = argv[7];
    long ramp = atol(argv[8]) ? atol(argv[8]) : 1;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < MOST_FDS ? files.rlim_max : MOST_FDS;
    setrlimit(RLIMIT_NOFILE, &files);
    loop = epoll_create1(EPOLL_CLOEXEC);
    int starter = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), dialled = 0;
    struct timespec every = {ramp / 1000000, ramp % 1000000 * 1000};
    timerfd_settime(starter, 0, &(struct itimerspec){every, {0, 1}}, NULL);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = starter}, events[256];
    epoll_ctl(loop, EPOLL_CTL_ADD, starter, &e);
    uint64_t began = now_us();
    while (finished < requests) {
        int n = epoll_wait(loop, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            uint64_t due;
            if (fd == starter) {
                if (read(starter, &due, sizeof due) < 0) due = 0;
                for (; due && dialled < connections && started < requests; due--, dialled++) {
                    Connection *c = calloc(1, sizeof *c);
                    dial(c);
                    ask(c);
                }
                if (dialled == connections) epoll_ctl(loop, EPOLL_CTL_DEL, starter, NULL);
            } else if (by_fd[fd]) {
                push(by_fd[fd]);
                pull(by_fd[fd]);
            }
        }
    }
    double seconds = (double)(now_us() - began) / 1e6;
    printf("{\"requests\":%d,\"failed\":%d,\"seconds\":%.6f,\"tokens\":%lld,\"arrivals\":%d,\"most\":%d,\"reconnects\":%d", finished,
           failed, seconds, tokens_seen, arrivals, most, reconnects);
    figures("latency", &latency);
    figures("first", &first);
    figures("delay", &delay);
    printf(",\"status\":%d,\"complaint\":\"%s\"}\n", failed ? bad_status : 200, complaint);
}
