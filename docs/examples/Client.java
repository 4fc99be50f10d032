// A client in Java, with nothing but what comes with Java 17: `java Client.java own`, then `java Client.java call`.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BiFunction;

public class Client implements WebSocket.Listener {
    static final String URL = "ws://127.0.0.1:8765/";

    /** The router, or a callee, has answered with an error. */
    static class RpcError extends Exception {
        final Map<String, Object> error;
        final boolean isRouters; // only where the router says so it is the router's word

        RpcError(Map<String, Object> message) {
            error = object(message.get("error"));
            isRouters = "router".equals(object(message.get("meta")).get("origin"));
        }
    }

    private final AtomicLong lastId = new AtomicLong();
    // request id -> who waits for its answer
    private final Map<Object, CompletableFuture<Map<String, Object>>> pending = new ConcurrentHashMap<>();
    // what others can call
    private final Map<String, BiFunction<Map<String, Object>, Map<String, Object>, Object>> methods = new ConcurrentHashMap<>();
    private final BlockingQueue<String> outbox = new LinkedBlockingQueue<>();
    private final CompletableFuture<Void> closed = new CompletableFuture<>();
    private final StringBuilder text = new StringBuilder();
    private final WebSocket socket;

    Client() {
        socket = HttpClient.newHttpClient().newWebSocketBuilder().subprotocols("resroute.v1").buildAsync(URI.create(URL), this).join();
        Thread writer = new Thread(this::write); // a WebSocket of Java takes one message at a time
        writer.setDaemon(true);
        writer.start();
    }

    private void write() {
        try {
            for (;;) socket.sendText(outbox.take(), true).join();
        } catch (Exception error) {
            fail(error);
        }
    }

    // --- what arrives; Pings are answered by the library ---

    @Override
    public CompletionStage<?> onText(WebSocket from, CharSequence part, boolean isLast) {
        text.append(part); // large messages come in several parts
        if (isLast) {
            Map<String, Object> message = object(new Json(text.toString()).read());
            text.setLength(0);
            if (message.containsKey("method")) serve(message);
            else {
                CompletableFuture<Map<String, Object>> waiting = pending.remove(message.get("id"));
                if (waiting != null) waiting.complete(message);
            }
        }
        from.request(1);
        return null;
    }

    @Override
    public CompletionStage<?> onClose(WebSocket from, int code, String reason) {
        fail(new IllegalStateException("closed with " + code + " " + reason));
        return null;
    }

    @Override
    public void onError(WebSocket from, Throwable error) {
        fail(error);
    }

    private void fail(Throwable error) {
        pending.values().forEach(waiting -> waiting.completeExceptionally(error));
        closed.complete(null);
    }

    private void serve(Map<String, Object> message) {
        if (!message.containsKey("id")) return; // a notification: nothing here needs any
        String name = (String) message.get("method");
        var method = methods.get(name);
        Map<String, Object> answer = message("id", message.get("id"));
        if (method != null) answer.put("result", method.apply(object(message.get("params")), object(message.get("meta"))));
        else answer.put("error", message("code", -32601, "message", "there is no method " + name));
        say(answer);
    }

    // --- what is sent ---

    private void say(Map<String, Object> message) {
        message.put("jsonrpc", "2.0");
        outbox.add(Json.write(message));
    }

    Map<String, Object> request(String method, Map<String, Object> params) throws Exception {
        long id = lastId.incrementAndGet();
        CompletableFuture<Map<String, Object>> answer = new CompletableFuture<>();
        pending.put(id, answer);
        say(message("id", id, "method", method, "params", params));
        Map<String, Object> message = answer.get();
        if (message.containsKey("error")) throw new RpcError(message);
        return message;
    }

    // --- the two programs ---

    void own() throws Exception {
        methods.put("read", (params, meta) -> "line " + params.get("line") + " of " + meta.get("resource_id"));
        request("instance.register", message("service_name", "documents"));
        var answer = request("resource.register", message("resource_ids", List.of("doc:1")));
        System.out.println(((List<?>) object(answer.get("result")).get("registered")).get(0) + " is ours");
        closed.join();
    }

    void call(String resourceId, String method) throws Exception {
        var params = message("resource_id", resourceId, "method", method, "params", message("line", 3), "timeout_seconds", 10);
        try {
            System.out.println(request("route.call", params).get("result"));
        } catch (RpcError failure) {
            Map<String, Object> error = failure.error;
            if (failure.isRouters) System.out.println("router: " + error.get("code") + " " + object(error.get("data")).get("type"));
            else System.out.println("callee: " + error.get("code") + " " + error.get("message"));
        }
    }

    public static void main(String[] arguments) throws Exception {
        Client client = new Client();
        if (arguments.length > 0 && arguments[0].equals("own")) client.own();
        else {
            client.call("doc:1", "read");
            client.call("doc:1", "print");
            client.call("doc:2", "read");
            client.socket.sendClose(WebSocket.NORMAL_CLOSURE, "").join();
        }
    }

    // --- JSON, which Java has no library for ---

    static Map<String, Object> message(Object... namesAndValues) {
        Map<String, Object> made = new LinkedHashMap<>();
        for (int i = 0; i < namesAndValues.length; i += 2) made.put((String) namesAndValues[i], namesAndValues[i + 1]);
        return made;
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Object value) {
        return value instanceof Map ? (Map<String, Object>) value : Map.of();
    }

    static class Json {
        private final String text;
        private int at = 0;

        Json(String text) {
            this.text = text;
        }

        Object read() {
            switch (peek()) {
                case '{': {
                    Map<String, Object> made = new LinkedHashMap<>();
                    for (at++; peek() != '}'; skip(',')) {
                        String name = readString();
                        skip(':');
                        made.put(name, read());
                    }
                    at++;
                    return made;
                }
                case '[': {
                    List<Object> made = new ArrayList<>();
                    for (at++; peek() != ']'; skip(',')) made.add(read());
                    at++;
                    return made;
                }
                case '"':
                    return readString();
                default: {
                    int from = at;
                    while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) at++;
                    String word = text.substring(from, at);
                    if (word.equals("null")) return null;
                    if (word.equals("true") || word.equals("false")) return word.equals("true");
                    if (word.matches("-?\\d{1,18}")) return Long.valueOf(word);
                    return Double.valueOf(word);
                }
            }
        }

        private char peek() {
            while (Character.isWhitespace(text.charAt(at))) at++;
            return text.charAt(at);
        }

        private void skip(char sign) {
            if (peek() == sign) at++;
        }

        private String readString() {
            StringBuilder made = new StringBuilder();
            peek();
            for (at++; text.charAt(at) != '"'; at++) {
                char sign = text.charAt(at);
                if (sign == '\\') {
                    sign = text.charAt(++at);
                    int known = "nrtbf".indexOf(sign);
                    if (known >= 0) sign = "\n\r\t\b\f".charAt(known);
                    else if (sign == 'u') {
                        sign = (char) Integer.parseInt(text.substring(at + 1, at + 5), 16);
                        at += 4;
                    }
                }
                made.append(sign);
            }
            at++;
            return made.toString();
        }

        static String write(Object value) {
            List<String> parts = new ArrayList<>();
            if (value instanceof Map<?, ?> map) {
                map.forEach((name, member) -> parts.add(write(name) + ":" + write(member)));
                return "{" + String.join(",", parts) + "}";
            }
            if (value instanceof List<?> list) {
                list.forEach(item -> parts.add(write(item)));
                return "[" + String.join(",", parts) + "]";
            }
            if (!(value instanceof String string)) return String.valueOf(value);
            StringBuilder made = new StringBuilder("\"");
            for (char sign : string.toCharArray()) {
                if (sign == '"' || sign == '\\') made.append('\\').append(sign);
                else if (sign < ' ') made.append(String.format("\\u%04x", (int) sign));
                else made.append(sign);
            }
            return made.append('"').toString();
        }
    }
}
