package hopsworksflink.submit;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import javax.net.ServerSocketFactory;
import org.apache.flink.api.python.shaded.py4j.CallbackClient;
import org.apache.flink.api.python.shaded.py4j.Gateway;
import org.apache.flink.api.python.shaded.py4j.GatewayConnection;
import org.apache.flink.api.python.shaded.py4j.GatewayServer;
import org.apache.flink.api.python.shaded.py4j.Py4JServerConnection;

/** The server for a Python program's calls, whose threads have the context of the program's submission. */
final class BoundGateway extends GatewayServer {
    private final SubmissionContext context;

    BoundGateway(SubmissionContext context) {
        // Any port of the loopback address, both ways; the program says on which one it takes callbacks.
        super(
                new Gateway(new ConcurrentHashMap<String, Object>(), new CallbackClient(0)),
                0,
                InetAddress.getLoopbackAddress(),
                0,
                0,
                List.of(),
                ServerSocketFactory.getDefault());
        this.context = context;
    }

    @Override
    protected Py4JServerConnection createConnection(Gateway gateway, Socket socket) throws IOException {
        GatewayConnection connection = new GatewayConnection(gateway, socket, null, List.of(), getListeners()) {
            @Override
            public void run() {
                context.bind();
                super.run();
            }
        };
        connection.startConnection();
        return connection;
    }
}
