package hopsworksflink.aggregate;

import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.binary.BinaryStringData;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.table.functions.FunctionDefinition;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.ArgumentCount;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.ConstantArgumentCount;
import org.apache.flink.table.types.inference.InputTypeStrategy;
import org.apache.flink.table.types.inference.Signature;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;
import org.apache.flink.table.types.logical.utils.LogicalTypeUtils;

/**
 * An aggregate function over values that are kept. Its result does not depend on the order in which they come, nor on
 * how they are split up and merged. Null values are left out.
 */
public abstract class OfValues extends AggregateFunction<Object, Values> {
    private static final long serialVersionUID = 1L;

    /** Arguments are of any type. Everything is in Flink's internal form. */
    private static final InputTypeStrategy ANY = new InputTypeStrategy() {
        @Override
        public ArgumentCount getArgumentCount() {
            return ConstantArgumentCount.from(1);
        }

        @Override
        public Optional<List<DataType>> inferInputTypes(CallContext context, boolean throwOnFailure) {
            return Optional.of(context.getArgumentDataTypes().stream()
                    .map(OfValues::internal)
                    .collect(Collectors.toList()));
        }

        @Override
        public List<Signature> getExpectedSignatures(FunctionDefinition definition) {
            return List.of(Signature.of(Signature.Argument.ofGroup("any")));
        }
    };

    private static DataType internal(DataType type) {
        return type.bridgedTo(LogicalTypeUtils.toInternalConversionClass(type.getLogicalType()));
    }

    /** Keep no more than the function needs. */
    abstract void trim(Values values);

    /** Type of the result; null: that of the first argument. */
    abstract DataType type();

    @Override
    public Values createAccumulator() {
        return new Values();
    }

    /** For Flink: add the values of one event. */
    public void accumulate(Values values, Object value) {
        accumulate(values, value, 0.0);
    }

    /** @param setting the same for all events. */
    public void accumulate(Values values, Object value, Double setting) {
        values.setting = setting;
        if (value != null && !values.tooMany) {
            // Flink uses the memory of a text again.
            values.add(value instanceof BinaryStringData text ? text.copy() : value, 1);
            trim(values);
        }
    }

    /** For Flink: add what was kept elsewhere. */
    public void merge(Values into, Iterable<Values> others) {
        for (Values other : others) {
            into.setting = Math.max(into.setting, other.setting);
            into.tooMany |= other.tooMany;
            other.counts.forEach(into::add);
            trim(into);
        }
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        DataType kept = DataTypes.RAW(Values.class, ValuesSerializer.INSTANCE);
        DataType result = type();
        return TypeInference.newBuilder()
                .inputTypeStrategy(ANY)
                .accumulatorTypeStrategy(TypeStrategies.explicit(kept))
                .outputTypeStrategy(
                        result == null
                                ? context -> Optional.of(
                                        internal(context.getArgumentDataTypes().get(0)).nullable())
                                : TypeStrategies.explicit(internal(result)))
                .build();
    }
}
