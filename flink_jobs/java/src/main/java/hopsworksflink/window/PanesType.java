package hopsworksflink.window;

import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.TypeSerializer;

/** What Flink wants to know about panes on their way between two operators. */
final class PanesType extends TypeInformation<Panes> {
    private static final long serialVersionUID = 1L;

    private final PanesSerializer serializer;

    PanesType(PanesSerializer serializer) {
        this.serializer = serializer;
    }

    @Override
    public TypeSerializer<Panes> createSerializer(SerializerConfig config) {
        return serializer.duplicate();
    }

    @Override
    public Class<Panes> getTypeClass() {
        return Panes.class;
    }

    @Override
    public boolean isBasicType() {
        return false;
    }

    @Override
    public boolean isTupleType() {
        return false;
    }

    @Override
    public boolean isKeyType() {
        return false;
    }

    @Override
    public int getArity() {
        return 1;
    }

    @Override
    public int getTotalFields() {
        return 1;
    }

    @Override
    public String toString() {
        return "Panes";
    }

    @Override
    public boolean canEqual(Object other) {
        return other instanceof PanesType;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof PanesType type && type.serializer.equals(serializer);
    }

    @Override
    public int hashCode() {
        return serializer.hashCode();
    }
}
