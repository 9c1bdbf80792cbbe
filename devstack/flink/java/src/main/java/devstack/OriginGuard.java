package devstack;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.runtime.io.network.netty.InboundChannelHandlerFactory;
import org.apache.flink.shaded.netty4.io.netty.buffer.Unpooled;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelFutureListener;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelHandler;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelHandlerAdapter;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelHandlerContext;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelInboundHandlerAdapter;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.DefaultFullHttpResponse;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpHeaderNames;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpHeaders;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpMethod;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpRequest;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpResponseStatus;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpServerCodec;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpVersion;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.LastHttpContent;
import org.apache.flink.shaded.netty4.io.netty.util.ReferenceCountUtil;

/**
 * Refuses requests to Flink's REST API that a web page of another origin made a browser send.
 *
 * <p>The API takes jars and runs them without asking who sends them, and a browser sends a form or an upload to any
 * address. Such a request names its page in {@code Origin} or says {@code Sec-Fetch-Site: cross-site}. A page whose own
 * name was made to point here (DNS rebinding) is seen by a {@code Host} that this cluster does not have. Programs send
 * neither header and are let through.
 */
public final class OriginGuard implements InboundChannelHandlerFactory {

    /** Host names under which the REST API may be asked, beside its own address and those of the loopback. */
    static final ConfigOption<List<String>> HOSTS =
            ConfigOptions.key("devstack.rest.hosts").stringType().asList().defaultValues();

    private static final List<String> LOOPBACK = List.of("localhost", "127.0.0.1", "[::1]");

    @Override
    public int priority() {
        return 0;
    }

    @Override
    public Optional<ChannelHandler> createHandler(Configuration configuration, Map<String, String> responseHeaders) {
        Set<String> hosts = new TreeSet<>(LOOPBACK);
        for (String host : configuration.get(HOSTS)) {
            hosts.add(host.toLowerCase(Locale.ROOT));
        }
        configuration.getOptional(RestOptions.ADDRESS).ifPresent(host -> hosts.add(host.toLowerCase(Locale.ROOT)));
        return Optional.of(new Placer(hosts));
    }

    /** Why the request is refused; null if it is not. */
    static String refusal(Set<String> hosts, HttpMethod method, String uri, HttpHeaders headers) {
        List<String> named = headers.getAll(HttpHeaderNames.HOST);
        if (named.size() != 1) {
            return "a request names one host";
        }
        String authority = named.get(0).toLowerCase(Locale.ROOT);
        String host = authority.replaceFirst(":[0-9]*$", "");
        if (!hosts.contains(host)) {
            return "the host " + host + " is not one of this cluster: see devstack.rest.hosts";
        }
        for (String origin : headers.getAll(HttpHeaderNames.ORIGIN)) {
            String lower = origin.toLowerCase(Locale.ROOT);
            if (!lower.equals("http://" + authority) && !lower.equals("https://" + authority)) {
                return "the origin " + origin + " is foreign";
            }
        }
        boolean visit =
                method.equals(HttpMethod.GET)
                        && "navigate".equals(headers.get("Sec-Fetch-Mode"))
                        && "document".equals(headers.get("Sec-Fetch-Dest"))
                        && (uri.equals("/") || uri.equals("/index.html"));
        // A link to the UI may be followed from anywhere; some addresses cancel a job when they are read.
        if ("cross-site".equals(headers.get("Sec-Fetch-Site")) && !visit) {
            return "a page of another site sends it";
        }
        return null;
    }

    /**
     * Puts the guard before all that reads a request. Flink adds handlers behind the one that stores uploads.
     */
    private static final class Placer extends ChannelHandlerAdapter {
        private final Set<String> hosts;

        Placer(Set<String> hosts) {
            this.hosts = hosts;
        }

        @Override
        public void handlerAdded(ChannelHandlerContext context) {
            String codec = context.pipeline().context(HttpServerCodec.class).name();
            context.pipeline().addAfter(codec, "origin-guard", new Guard(hosts));
            context.pipeline().remove(this);
        }
    }

    /** Answers refused requests with 403, and drops their bodies. */
    private static final class Guard extends ChannelInboundHandlerAdapter {
        private final Set<String> hosts;
        private String refusal;

        Guard(Set<String> hosts) {
            this.hosts = hosts;
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            if (message instanceof HttpRequest request) {
                refusal = refusal(hosts, request.method(), request.uri(), request.headers());
            }
            if (refusal == null) {
                context.fireChannelRead(message);
                return;
            }
            ReferenceCountUtil.release(message);
            // At the end: a client that is still sending would lose the answer.
            if (message instanceof LastHttpContent) {
                byte[] text = ("{\"errors\":[\"Refused: " + escape(refusal) + ".\"]}").getBytes(StandardCharsets.UTF_8);
                var response =
                        new DefaultFullHttpResponse(
                                HttpVersion.HTTP_1_1, HttpResponseStatus.FORBIDDEN, Unpooled.wrappedBuffer(text));
                response.headers()
                        .set(HttpHeaderNames.CONTENT_TYPE, "application/json; charset=UTF-8")
                        .set(HttpHeaderNames.CONTENT_LENGTH, text.length)
                        .set(HttpHeaderNames.CONNECTION, "close");
                context.writeAndFlush(response).addListener(ChannelFutureListener.CLOSE);
            }
        }

        private static String escape(String text) {
            return text.replaceAll("[\\\\\"\\p{Cntrl}]", "?");
        }
    }
}
