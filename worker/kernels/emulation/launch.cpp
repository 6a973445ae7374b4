// A program that plays one launch of a kernel: it reads the launch from its standard input, plays it with the threads
// in several orders, and writes what the kernel wrote to its standard output. If something is wrong (an access out of
// bounds, threads that wait for each other, orders that give different bytes), it says so and ends with status 1.
//
// The launch is text, with the content of buffers in between:
//     NAME GRID_X GRID_Y BLOCK FIRST LAST ORDERS      blocks [FIRST, LAST) of the grid are played
//     index 7 | int 7 | float 3f800000 | null         one line per parameter; an index has 64 bits; a float by its bits
//     same 0                                          the buffer of that parameter
//     in|out|inout BYTES SHIFT BEGIN END              a buffer; then, but for `out`, bytes [BEGIN, END) of it
#include "launch.h"

#include <signal.h>

#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "memory.h"
#include "play.h"

namespace emulation {

struct Parameter {
    std::string kind;
    long long integer = 0;
    float number = 0;
    int buffer = -1;
};

static std::string name;
static long long first, last;
static unsigned orders;
static std::vector<Parameter> parameters;
static std::vector<Buffer> buffers;
// Of each buffer, after order 0.
static std::vector<std::string> results;
static bool played = false;

// An access to a page that is closed, or what the compiler's checks caught.
static void caught(int signal, siginfo_t* info, void*) {
    if (signal != SIGSEGV && signal != SIGBUS) fail("a misaligned access, an index or a sum out of range");
    for (const Buffer& buffer : buffers) {
        if (!buffer.has(info->si_addr)) continue;
        const ptrdiff_t at = static_cast<unsigned char*>(info->si_addr) - buffer.data;
        const bool inside = at >= 0 && static_cast<size_t>(at) < buffer.bytes;
        fail("%s at byte %td of a buffer of %zu", inside ? "not allowed" : "out of bounds", at, buffer.bytes);
    }
    fail("out of bounds, at no buffer");
}

static void catch_signals() {
    static char stack[64 << 10];
    stack_t alternate = {};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof stack;
    sigaltstack(&alternate, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = caught;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE}) sigaction(signal, &action, nullptr);
}

static Parameter read(const std::string& kind) {
    Parameter parameter;
    parameter.kind = kind;
    unsigned bits;
    size_t bytes, shift, begin, end;
    if (kind == "null") return parameter;
    if ((kind == "int" || kind == "index") && scanf("%lld", &parameter.integer) == 1) return parameter;
    if (kind == "float" && scanf("%x", &bits) == 1) {
        memcpy(&parameter.number, &bits, sizeof bits);
        return parameter;
    }
    if (kind == "same" && scanf("%u", &bits) == 1) return parameters.at(bits);
    if (scanf("%zu %zu %zu %zu", &bytes, &shift, &begin, &end) != 4) fail("no parameter: %s", kind.c_str());
    getchar();
    std::string content(kind == "out" ? 0 : end - begin, '\0');
    if (fread(&content[0], 1, content.size(), stdin) != content.size()) fail("a buffer is cut short");
    const auto use = kind == "in" ? Buffer::Use::In : kind == "out" ? Buffer::Use::Out : Buffer::Use::InOut;
    parameter.buffer = static_cast<int>(buffers.size());
    buffers.emplace_back(use, bytes, shift, begin, end, std::move(content));
    return parameter;
}

static void read_launch() {
    char word[64];
    if (scanf("%63s %u %u %u %lld %lld %u", word, &gridDim.x, &gridDim.y, &blockDim.x, &first, &last, &orders) != 7) {
        fail("this is no launch");
    }
    name = word;
    gridDim.z = blockDim.y = blockDim.z = 1;
    while (scanf("%63s", word) == 1) parameters.push_back(read(word));
}

static const Parameter& parameter(unsigned index, bool right) {
    if (!right) fail("parameter %u is no %s", index, parameters[index].kind.c_str());
    return parameters[index];
}

void* pointer(unsigned index, bool constant) {
    const Parameter& p = parameters[index];
    if (p.kind == "null") return nullptr;
    return buffers[parameter(index, p.buffer >= 0 && (constant || p.kind != "in")).buffer].data;
}

long long integer(unsigned index, bool wide) {
    return parameter(index, parameters[index].kind == (wide ? "index" : "int")).integer;
}

float number(unsigned index) { return parameter(index, parameters[index].kind == "float").number; }

bool is_of(const char* of, unsigned count) {
    if (name != of) return false;
    if (parameters.size() != count) fail("%s takes %u parameters", of, count);
    return true;
}

static void play_order(unsigned number) {
    Order order(number);
    for (Buffer& buffer : buffers) buffer.fill();
    std::vector<unsigned> indices;
    for (unsigned index : order.of(static_cast<unsigned>(last - first), indices)) {
        const long long block = first + index;
        blockIdx.x = static_cast<unsigned>(block % gridDim.x);
        blockIdx.y = static_cast<unsigned>(block / gridDim.x);
        play_block(order);
    }
    for (size_t i = 0; i < buffers.size(); i++) {
        std::string result = buffers[i].result(static_cast<int>(i));
        if (number == 0) {
            results.push_back(std::move(result));
        } else if (result != results[i]) {
            fail("buffer %zu is not what it is with the threads in order 0", i);
        }
    }
}

void play(void (*thread)()) {
    kernel = thread;
    make_threads();
    for (unsigned number = 0; number < orders; number++) play_order(number);
    played = true;
}

}  // namespace emulation

int main() {
    using namespace emulation;
    read_launch();
    catch_signals();
    play_kernels();
    if (!played) fail("there is no kernel %s", name.c_str());
    for (const std::string& result : results) fwrite(result.data(), 1, result.size(), stdout);
}
